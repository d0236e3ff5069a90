//! Programs at work.

use super::foreign::{Input, Tile};
use super::kernels::{any, binary, copy, count, logic, map1, map2, select, unary};
use super::lane::{Data, Kept, Lane, State, Type, Validity, Value};
use super::load::{load, settle, within};
use super::math::{Arith, Compare, Math, Number, each_math};
use super::program::{Check, Node, Op, Program, Step};
use super::table::Walk;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{ArrowPrimitiveType, Float32Type, Float64Type, Int32Type, Int64Type, UInt64Type};
use std::fmt;
use std::sync::Arc;

/// Cells of a tile, at most: its registers stay in the second-level cache.
pub const TILE: usize = 4096;

/// Consecutive cells of a box, such as a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The first cell, flat in the box (C order).
    pub first: u64,
    /// How many.
    pub len: usize,
}

/// Why a program ended early.
#[derive(Debug)]
pub enum Fault {
    /// A cell was objected to.
    Check(Check),
    /// A foreign function failed.
    Foreign(Box<dyn std::error::Error + Send + Sync>),
    /// A foreign function gave values of another type or number than declared.
    Misfit(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Check(Check::Negative) => f.write_str("cannot take square root of a negative number"),
            Fault::Check(Check::Zero) => f.write_str("zero raised to a negative power is undefined"),
            Fault::Foreign(error) => write!(f, "{error}"),
            Fault::Misfit(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Fault {}

/// Runs a program, tile after tile, in registers that are reused.
#[derive(Debug)]
pub struct Machine {
    program: Arc<Program>,
    lanes: Vec<Lane>,
    /// For each table, where the cells of the box at hand find their values.
    walks: Vec<Walk>,
    len: usize,
}

impl Machine {
    /// A machine for `program`, in no box yet.
    pub fn new(program: Arc<Program>) -> Self {
        let lanes = program.lanes.iter().map(|&kind| Lane::new(kind)).collect();
        Self { lanes, walks: Vec::new(), len: 0, program }
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.lanes.iter().map(Lane::memory).sum()
    }

    /// Tells which box of the grid the cells to come are of: its origin and its shape.
    pub fn enter(&mut self, origin: &[u64], shape: &[u64]) {
        self.walks.clear();
        self.walks.extend(self.program.tables.iter().map(|table| table.walk(origin, shape)));
    }

    /// Computes all steps for the cells of `segments`, which follow each other in the blocks of `inputs`.
    /// `false` if the program's gate keeps none of them: then only what decides that has been computed.
    ///
    /// # Errors
    /// The first [`Fault`].
    pub fn run(&mut self, segments: &[Segment], inputs: &[Input<'_>]) -> Result<bool, Fault> {
        self.len = segments.iter().map(|segment| segment.len).sum();
        let program = Arc::clone(&self.program);
        for &at in &program.order {
            let step = &program.steps[at];
            let mut out = std::mem::replace(&mut self.lanes[step.lane], Lane::new(Type::Array));
            let done = self.step(step, segments, inputs, &mut out);
            self.lanes[step.lane] = out;
            done?;
            if program.gate == Some(Node(at)) && self.kept(Node(at)) == Kept::None {
                return Ok(false);
            }
        }
        for output in &program.outputs {
            let len = self.len;
            self.lanes[program.steps[output.0].lane].expand(len);
        }
        Ok(true)
    }

    /// The cells that the mask `node` kept in the last run.
    pub fn kept(&self, node: Node) -> Kept<'_> {
        let lane = self.lane(node);
        match (lane.uniform, bool::of(&lane.data)) {
            (true, [true]) => Kept::All,
            (true, _) => Kept::None,
            (false, mask) => Kept::Some(mask),
        }
    }

    /// The values of the output `node` in the last run.
    pub fn values(&self, node: Node) -> &Data {
        &self.lane(node).data
    }

    /// Which values of `node` weren't NULL in the last run.
    pub fn valid(&self, node: Node) -> Kept<'_> {
        self.lane(node).valid.kept()
    }

    fn lane(&self, node: Node) -> &Lane {
        &self.lanes[self.program.steps[node.0].lane]
    }

    fn step(
        &self,
        step: &Step,
        segments: &[Segment],
        inputs: &[Input<'_>],
        out: &mut Lane,
    ) -> Result<(), Fault> {
        match &step.op {
            Op::Load(input) => load(&inputs[*input], step.kind, self.program.nan_as_missing, out),
            Op::Table(table) => {
                self.program.tables[*table].spread(&self.walks[*table], segments, self.len, out);
            }
            Op::Cast(a) => cast(self.lane(*a), step.kind, out),
            Op::Math(math, a) => match step.kind {
                Type::F32 => math_f32(*math, self.lane(*a), out),
                _ => math_f64(*math, self.lane(*a), out),
            },
            Op::Arith(op, a, b) => {
                let (a, b) = (self.lane(*a), self.lane(*b));
                match step.kind {
                    Type::F32 => arith_float(*op, a, b, out, f32::powf, f32::atan2),
                    Type::F64 => arith_float(*op, a, b, out, f64::powf, f64::atan2),
                    Type::I32 => arith::<i32>(*op, a, b, out),
                    Type::I64 => arith::<i64>(*op, a, b, out),
                    _ => arith::<u64>(*op, a, b, out),
                }
            }
            Op::Compare(op, a, b) => {
                let (a, b) = (self.lane(*a), self.lane(*b));
                match a.data.kind() {
                    Type::F32 => compare(*op, a, b, out, f32::key),
                    Type::F64 => compare(*op, a, b, out, f64::key),
                    Type::I32 => compare(*op, a, b, out, i32::key),
                    Type::I64 => compare(*op, a, b, out, i64::key),
                    Type::U64 => compare(*op, a, b, out, u64::key),
                    Type::Bool | Type::Array => compare(*op, a, b, out, |value: bool| value),
                }
            }
            Op::And(a, b) => logic::<false>(self.lane(*a), self.lane(*b), out, self.len),
            Op::Or(a, b) => logic::<true>(self.lane(*a), self.lane(*b), out, self.len),
            Op::Not(a) => unary(self.lane(*a), out, |value: bool| !value),
            Op::IsNull(a) => is_null(&self.lane(*a).valid, out),
            Op::IsNan(a) => match self.lane(*a) {
                a if a.data.kind() == Type::F32 => unary(a, out, f32::is_nan),
                a => unary(a, out, f64::is_nan),
            },
            Op::Truth(a) => truth(self.lane(*a), out),
            Op::Within(range) => within(*range, &inputs[range.input], out),
            Op::Select(when, a, b) => {
                let (when, a, b) = (self.lane(*when), self.lane(*a), self.lane(*b));
                match step.kind {
                    Type::F32 => select::<f32>(when, a, b, out, self.len),
                    Type::F64 => select::<f64>(when, a, b, out, self.len),
                    Type::I32 => select::<i32>(when, a, b, out, self.len),
                    Type::I64 => select::<i64>(when, a, b, out, self.len),
                    Type::U64 => select::<u64>(when, a, b, out, self.len),
                    Type::Bool | Type::Array => select::<bool>(when, a, b, out, self.len),
                }
            }
            Op::Check(check, a, guard) => self.check(*check, *a, *guard, out)?,
            Op::Foreign(index, args, guard) => {
                self.foreign(*index, args, *guard, step.kind, inputs, out)?;
            }
        }
        Ok(())
    }

    fn guard(&self, guard: Option<Node>) -> Kept<'_> {
        guard.map_or(Kept::All, |guard| self.kept(guard))
    }

    fn check(&self, check: Check, node: Node, guard: Option<Node>, out: &mut Lane) -> Result<(), Fault> {
        let lane = self.lane(node);
        let objects: fn(f64) -> bool = match check {
            Check::Negative => |value| value < 0.0,
            Check::Zero => |value| value == 0.0,
        };
        let suspicious = match (&lane.data, check) {
            (Data::F32(values), Check::Negative) => any(values, |value| value < 0.0),
            (Data::F32(values), Check::Zero) => any(values, |value| value == 0.0),
            (Data::F64(values), Check::Negative) => any(values, |value| value < 0.0),
            (Data::F64(values), Check::Zero) => any(values, |value| value == 0.0),
            _ => false,
        };
        let value = |at: usize| {
            let at = if lane.uniform { 0 } else { at };
            match &lane.data {
                Data::F32(values) => f64::from(values[at]),
                Data::F64(values) => values[at],
                _ => f64::NAN,
            }
        };
        let (valid, kept) = (lane.valid.kept(), self.guard(guard));
        let holds = |mask: Kept<'_>, at: usize| match mask {
            Kept::All => true,
            Kept::None => false,
            Kept::Some(mask) => mask[at],
        };
        let guilty = |at: usize| objects(value(at)) && holds(valid, at) && holds(kept, at);
        if suspicious && (0..self.len).any(guilty) {
            return Err(Fault::Check(check));
        }
        out.valid.state = State::All;
        out.set_uniform(true);
        Ok(())
    }

    fn foreign(
        &self,
        index: usize,
        args: &[Node],
        guard: Option<Node>,
        kind: Type,
        inputs: &[Input<'_>],
        out: &mut Lane,
    ) -> Result<(), Fault> {
        let kept = self.guard(guard);
        let wanted = match kept {
            Kept::All => self.len,
            Kept::None => 0,
            Kept::Some(mask) => count(mask),
        };
        if wanted == 0 && kind != Type::Array {
            out.set_null();
            return Ok(());
        }
        let mut spelt = Vec::new();
        for &arg in args {
            let mut lane = Lane::new(Type::I32);
            copy::<i32>(self.lane(arg), &mut lane);
            lane.expand(self.len);
            spelt.push(lane);
        }
        let args: Vec<&[i32]> = spelt.iter().map(|lane| i32::of(&lane.data)).collect();
        let tile = Tile { len: self.len, inputs, args: &args, kept };
        let array = self.program.foreign[index].evaluate(&tile).map_err(Fault::Foreign)?;
        if array.len() != wanted {
            return Err(Fault::Misfit(format!("{} values for {wanted} cells", array.len())));
        }
        out.valid.state = State::All;
        out.uniform = false;
        let fits = match kind {
            Type::Array => {
                out.data = Data::Array(Some(array));
                return Ok(());
            }
            Type::F32 => gather::<Float32Type>(&array, kept, self.len, out),
            Type::F64 => gather::<Float64Type>(&array, kept, self.len, out),
            Type::I32 => gather::<Int32Type>(&array, kept, self.len, out),
            Type::I64 => gather::<Int64Type>(&array, kept, self.len, out),
            Type::U64 => gather::<UInt64Type>(&array, kept, self.len, out),
            Type::Bool => match array.as_boolean_opt() {
                Some(array_of) => {
                    scatter(array_of.values().iter(), kept, out.cells(self.len));
                    true
                }
                None => false,
            },
        };
        if !fits {
            return Err(Fault::Misfit(format!(
                "values of {} where {kind:?} was declared",
                array.data_type()
            )));
        }
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        if nulls.is_some() || kept != Kept::All {
            let Validity { state, mask } = &mut out.valid;
            mask.clear();
            mask.resize(self.len, false);
            match nulls {
                Some(nulls) => scatter(nulls.iter(), kept, mask),
                None => scatter(std::iter::repeat(true), kept, mask),
            }
            *state = State::Mask;
        }
        Ok(())
    }
}

/// Spreads the values of an array over the kept cells; `false` if it is of another type.
fn gather<A: ArrowPrimitiveType>(array: &ArrayRef, kept: Kept<'_>, len: usize, out: &mut Lane) -> bool
where
    A::Native: Value,
{
    let Some(array) = array.as_primitive_opt::<A>() else { return false };
    scatter(array.values().iter().copied(), kept, out.cells(len));
    true
}

/// Puts `values` at the kept cells.
fn scatter<T>(values: impl Iterator<Item = T>, kept: Kept<'_>, out: &mut [T]) {
    match kept {
        Kept::None => {}
        Kept::All => out.iter_mut().zip(values).for_each(|(out, value)| *out = value),
        Kept::Some(mask) => {
            let cells = out.iter_mut().zip(mask).filter(|(_, kept)| **kept);
            cells.zip(values).for_each(|((out, _), value)| *out = value);
        }
    }
}

fn cast(a: &Lane, kind: Type, out: &mut Lane) {
    macro_rules! from {
        ($from:ty, |$value:ident| $wide:expr) => {
            match kind {
                Type::F32 => unary(a, out, |$value: $from| $wide as f32),
                Type::F64 => unary(a, out, |$value: $from| $wide as f64),
                Type::I32 => unary(a, out, |$value: $from| $wide as i32),
                Type::I64 => unary(a, out, |$value: $from| $wide as i64),
                Type::U64 => unary(a, out, |$value: $from| $wide as u64),
                Type::Bool | Type::Array => {}
            }
        };
    }
    match a.data.kind() {
        Type::F32 => from!(f32, |value| value),
        Type::F64 => from!(f64, |value| value),
        Type::I32 => from!(i32, |value| value),
        Type::I64 => from!(i64, |value| value),
        Type::U64 => from!(u64, |value| value),
        Type::Bool | Type::Array => from!(bool, |value| u8::from(value)),
    }
}

fn math_f32(math: Math, a: &Lane, out: &mut Lane) {
    macro_rules! run {
        ($f:expr) => {
            unary::<f32, f32>(a, out, $f)
        };
    }
    each_math!(math, f32, run);
}

fn math_f64(math: Math, a: &Lane, out: &mut Lane) {
    macro_rules! run {
        ($f:expr) => {
            unary::<f64, f64>(a, out, $f)
        };
    }
    each_math!(math, f64, run);
}

fn arith<T: Number>(op: Arith, a: &Lane, b: &Lane, out: &mut Lane) {
    match op {
        Arith::Add => binary(a, b, out, T::add),
        Arith::Subtract => binary(a, b, out, T::subtract),
        Arith::Multiply => binary(a, b, out, T::multiply),
        Arith::Divide => binary(a, b, out, T::divide),
        Arith::Remainder => binary(a, b, out, T::remainder),
        // Of floats only.
        Arith::Power | Arith::Atan2 => {}
    }
}

fn arith_float<T: Number>(
    op: Arith,
    a: &Lane,
    b: &Lane,
    out: &mut Lane,
    power: fn(T, T) -> T,
    atan2: fn(T, T) -> T,
) {
    match op {
        Arith::Power => binary(a, b, out, power),
        Arith::Atan2 => binary(a, b, out, atan2),
        op => arith::<T>(op, a, b, out),
    }
}

fn compare<T: Value, K: Ord>(op: Compare, a: &Lane, b: &Lane, out: &mut Lane, key: impl Fn(T) -> K) {
    // Two loops for four: what isn't equal, or at most, is the contrary of one of them.
    let not = matches!(op, Compare::NotEqual | Compare::LessOrEqual);
    match op {
        Compare::Equal | Compare::NotEqual => binary(a, b, out, |a: T, b: T| (key(a) == key(b)) ^ not),
        Compare::Less => binary(a, b, out, less(not, key)),
        Compare::LessOrEqual => binary(b, a, out, less(not, key)),
    }
}

/// Whether one cell is below another, or with `not`, whether it isn't.
fn less<T, K: Ord>(not: bool, key: impl Fn(T) -> K) -> impl Fn(T, T) -> bool {
    move |a, b| (key(a) < key(b)) ^ not
}

fn is_null(valid: &Validity, out: &mut Lane) {
    out.valid.state = State::All;
    match valid.kept() {
        Kept::All => out.set_uniform(false),
        Kept::None => out.set_uniform(true),
        Kept::Some(mask) => map1(mask, out.cells(mask.len()), |valid| !valid),
    }
}

/// Masks that keep everything or nothing become uniform: what depends on them gets cheap.
fn truth(a: &Lane, out: &mut Lane) {
    out.valid.state = State::All;
    let values = bool::of(&a.data);
    if a.uniform {
        return out.set_uniform(a.valid.state == State::All && a.first());
    }
    match a.valid.kept() {
        Kept::None => return out.set_uniform(false),
        Kept::All => out.cells(values.len()).copy_from_slice(values),
        Kept::Some(valid) => map2(values, valid, out.cells(values.len()), |a, b| a & b),
    }
    settle(out);
}
