//! Registers: the values of one step for the cells of a tile, and which of them are NULL.

use crate::codec::Block;
use arrow::array::ArrayRef;

/// Type of a step's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Type {
    F32,
    F64,
    I32,
    I64,
    U64,
    Bool,
    /// An Arrow array of any type, of the kept cells alone; only foreign steps make one.
    Array,
}

/// Values of one type.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Data {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    U64(Vec<u64>),
    Bool(Vec<bool>),
    Array(Option<ArrayRef>),
}

/// Runs the same expression for whichever vector a [`Data`] holds, and another for an array.
macro_rules! each_data {
    ($data:expr, $values:ident => $body:expr, array => $array:expr) => {
        match $data {
            $crate::reduce::expr::Data::F32($values) => $body,
            $crate::reduce::expr::Data::F64($values) => $body,
            $crate::reduce::expr::Data::I32($values) => $body,
            $crate::reduce::expr::Data::I64($values) => $body,
            $crate::reduce::expr::Data::U64($values) => $body,
            $crate::reduce::expr::Data::Bool($values) => $body,
            $crate::reduce::expr::Data::Array(_) => $array,
        }
    };
}
pub(super) use each_data;

impl Data {
    /// No values of `kind`.
    pub fn empty(kind: Type) -> Self {
        match kind {
            Type::F32 => Self::F32(Vec::new()),
            Type::F64 => Self::F64(Vec::new()),
            Type::I32 => Self::I32(Vec::new()),
            Type::I64 => Self::I64(Vec::new()),
            Type::U64 => Self::U64(Vec::new()),
            Type::Bool => Self::Bool(Vec::new()),
            Type::Array => Self::Array(None),
        }
    }

    /// Type of the values.
    pub fn kind(&self) -> Type {
        match self {
            Self::F32(_) => Type::F32,
            Self::F64(_) => Type::F64,
            Self::I32(_) => Type::I32,
            Self::I64(_) => Type::I64,
            Self::U64(_) => Type::U64,
            Self::Bool(_) => Type::Bool,
            Self::Array(_) => Type::Array,
        }
    }

    /// Number of values; none for an array, which has its own.
    pub fn len(&self) -> usize {
        each_data!(self, values => values.len(), array => 0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        each_data!(self, values => size_of_val(&values[..]), array => 0)
    }

    /// Numbers as a block; `None` for others.
    pub fn as_block(&self) -> Option<Block<'_>> {
        Some(match self {
            Self::F32(values) => Block::Float32(values),
            Self::F64(values) => Block::Float64(values),
            Self::I32(values) => Block::Int32(values),
            Self::I64(values) => Block::Int64(values),
            Self::U64(values) => Block::UInt64(values),
            Self::Bool(_) | Self::Array(_) => return None,
        })
    }
}

/// A Rust type that registers hold.
pub(super) trait Value: Copy + Default + PartialEq + 'static {
    /// The values of `data`; none if it is of another type, which builders rule out.
    fn of(data: &Data) -> &[Self];
    /// The vector of `data`, emptied and of this type if it was of another.
    fn of_mut(data: &mut Data) -> &mut Vec<Self>;
}

macro_rules! value {
    ($($kind:ident $rust:ty),*) => {$(
        impl Value for $rust {
            fn of(data: &Data) -> &[Self] {
                if let Data::$kind(values) = data { values } else { &[] }
            }

            fn of_mut(data: &mut Data) -> &mut Vec<Self> {
                if !matches!(data, Data::$kind(_)) {
                    *data = Data::$kind(Vec::new());
                }
                match data {
                    Data::$kind(values) => values,
                    _ => unreachable!("it has just been made one"),
                }
            }
        }
    )*};
}
value!(F32 f32, F64 f64, I32 i32, I64 i64, U64 u64, Bool bool);

/// Which cells of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept<'a> {
    /// All of them.
    All,
    /// None of them.
    None,
    /// Those whose entry is true.
    Some(&'a [bool]),
}

impl<'a> Kept<'a> {
    /// The cells that both keep; `both` holds them if it must.
    pub fn and(self, other: Kept<'a>, both: &'a mut Vec<bool>) -> Kept<'a> {
        match (self, other) {
            (Kept::None, _) | (_, Kept::None) => Kept::None,
            (Kept::All, kept) | (kept, Kept::All) => kept,
            (Kept::Some(a), Kept::Some(b)) => {
                both.clear();
                both.extend(a.iter().zip(b).map(|(a, b)| a & b));
                Kept::Some(both)
            }
        }
    }
}

/// Which values aren't NULL. The mask is a buffer that survives changes of the other field.
#[derive(Debug, Clone, Default)]
pub(super) struct Validity {
    pub(super) state: State,
    pub(super) mask: Vec<bool>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    All,
    None,
    /// As the mask says.
    Mask,
}

impl Validity {
    pub(super) fn kept(&self) -> Kept<'_> {
        match self.state {
            State::All => Kept::All,
            State::None => Kept::None,
            State::Mask => Kept::Some(&self.mask),
        }
    }

    /// The same as `kept`.
    pub(super) fn set(&mut self, kept: Kept<'_>) {
        self.state = match kept {
            Kept::All => State::All,
            Kept::None => State::None,
            Kept::Some(mask) => {
                self.mask.clear();
                self.mask.extend_from_slice(mask);
                State::Mask
            }
        };
    }

    /// Valid where both are.
    pub(super) fn both(&mut self, a: &Self, b: &Self) {
        match (a.kept(), b.kept()) {
            (Kept::None, _) | (_, Kept::None) => self.state = State::None,
            (Kept::All, kept) | (kept, Kept::All) => self.set(kept),
            (Kept::Some(a), Kept::Some(b)) => {
                self.mask.clear();
                self.mask.extend(a.iter().zip(b).map(|(a, b)| a & b));
                self.state = State::Mask;
            }
        }
    }
}

/// A register.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) data: Data,
    /// Whether the first value stands for all cells; then all are valid or none is.
    pub(super) uniform: bool,
    pub(super) valid: Validity,
}

impl Lane {
    pub(super) fn new(kind: Type) -> Self {
        Self { data: Data::empty(kind), uniform: false, valid: Validity::default() }
    }

    pub(super) fn memory(&self) -> usize {
        self.data.memory() + self.valid.mask.capacity()
    }

    /// The value of all cells; the default if all are NULL.
    pub(super) fn first<T: Value>(&self) -> T {
        T::of(&self.data).first().copied().unwrap_or_default()
    }

    /// One value for all cells.
    pub(super) fn set_uniform<T: Value>(&mut self, value: T) {
        let values = T::of_mut(&mut self.data);
        values.clear();
        values.push(value);
        self.uniform = true;
    }

    /// Room for `len` values to be overwritten; what they are now means nothing.
    pub(super) fn cells<T: Value>(&mut self, len: usize) -> &mut [T] {
        self.uniform = false;
        let values = T::of_mut(&mut self.data);
        values.resize(len, T::default());
        values
    }

    /// All cells NULL.
    pub(super) fn set_null(&mut self) {
        each_data!(&mut self.data, values => {
            values.clear();
            values.push(Default::default());
        }, array => ());
        self.uniform = true;
        self.valid.state = State::None;
    }

    /// Spells a uniform value out for `len` cells.
    pub(super) fn expand(&mut self, len: usize) {
        if std::mem::take(&mut self.uniform) {
            each_data!(&mut self.data, values => {
                let value = values.first().copied().unwrap_or_default();
                values.clear();
                values.resize(len, value);
            }, array => ());
        }
    }
}
