//! Programs and how they are built.

use super::foreign::Foreign;
use super::lane::{Data, Type};
use super::load::Range;
use super::math::{Arith, Compare, Math};
use super::table::Table;
use crate::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// A step of the program that it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node(pub(super) usize);

/// What a [`Op::Check`] objects to, in a valid and kept cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// A negative number, of which no root can be taken.
    Negative,
    /// A zero, which has no negative power.
    Zero,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Op {
    /// Cells of an input, converted losslessly (or, from 64-bit integers to floats, rounded).
    Load(usize),
    /// Values of a table.
    Table(usize),
    /// Converted as Rust's `as` does.
    Cast(Node),
    Math(Math, Node),
    Arith(Arith, Node, Node),
    Compare(Compare, Node, Node),
    And(Node, Node),
    Or(Node, Node),
    Not(Node),
    IsNull(Node),
    IsNan(Node),
    /// True where it is true, false where it is false or NULL.
    Truth(Node),
    /// True where an input has a value in the range.
    Within(Range),
    /// The second where the first (never NULL) is true, else the third.
    Select(Node, Node, Node),
    /// Fails if a cell is objected to that the mask (never NULL; all if there is none) keeps.
    Check(Check, Node, Option<Node>),
    /// The foreign function of this number, of the values of some steps, for the cells that the mask keeps.
    Foreign(usize, Vec<Node>, Option<Node>),
}

impl Op {
    /// The steps whose registers it reads.
    fn reads(&self) -> Vec<Node> {
        match self {
            Op::Load(_) | Op::Table(_) | Op::Within(_) => vec![],
            Op::Cast(a) | Op::Math(_, a) | Op::Not(a) | Op::IsNull(a) | Op::IsNan(a) | Op::Truth(a) => {
                vec![*a]
            }
            Op::Arith(_, a, b) | Op::Compare(_, a, b) | Op::And(a, b) | Op::Or(a, b) => vec![*a, *b],
            Op::Select(a, b, c) => vec![*a, *b, *c],
            Op::Check(_, a, guard) => [*a].into_iter().chain(*guard).collect(),
            Op::Foreign(_, args, guard) => args.iter().copied().chain(*guard).collect(),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) op: Op,
    pub(super) kind: Type,
    /// The register that it writes.
    pub(super) lane: usize,
}

/// Steps over the cells of a tile, in order.
#[derive(Debug, Clone)]
pub struct Program {
    pub(super) steps: Vec<Step>,
    /// The steps that are taken: those that somebody reads, and checks.
    pub(super) order: Vec<usize>,
    pub(super) tables: Vec<Table>,
    pub(super) foreign: Vec<Arc<dyn Foreign>>,
    /// Types of the registers.
    pub(super) lanes: Vec<Type>,
    /// Where this mask keeps nothing, no later step is computed.
    pub(super) gate: Option<Node>,
    /// Steps whose values are read cell by cell.
    pub(super) outputs: Vec<Node>,
    /// Whether NaN of float inputs is NULL.
    pub(super) nan_as_missing: bool,
}

impl Program {
    /// Type of a step's values.
    pub fn kind(&self, node: Node) -> Type {
        self.steps[node.0].kind
    }

    /// Bytes that a machine holds for it.
    pub fn memory(&self) -> usize {
        let width = |kind: &Type| match kind {
            Type::F32 | Type::I32 => 5,
            Type::F64 | Type::I64 | Type::U64 | Type::Array => 9,
            Type::Bool => 2,
        };
        self.lanes.iter().map(width).sum::<usize>() * super::TILE
    }
}

/// Builds a [`Program`]: each call adds a step, or gives back the one that was there before.
#[derive(Debug, Default)]
pub struct Builder {
    steps: Vec<(Op, Type)>,
    seen: HashMap<(Op, Type), Node>,
    tables: Vec<Table>,
    foreign: Vec<Arc<dyn Foreign>>,
    gate: Option<Node>,
    outputs: Vec<Node>,
    masks: Vec<Node>,
}

impl Builder {
    /// No steps yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn push(&mut self, op: Op, kind: Type) -> Node {
        let key = (op, kind);
        if let Some(&node) = self.seen.get(&key) {
            return node;
        }
        let node = Node(self.steps.len());
        self.steps.push(key.clone());
        self.seen.insert(key, node);
        node
    }

    /// Type of a step's values.
    pub fn kind(&self, node: Node) -> Type {
        self.steps[node.0].1
    }

    /// The constant that a step is, if it is one.
    pub fn constant_of(&self, node: Node) -> Option<&Data> {
        match self.steps[node.0].0 {
            Op::Table(table) if self.tables[table].is_constant() => Some(self.tables[table].data()),
            _ => None,
        }
    }

    /// The step that `node` is a cast of, if it is one.
    pub fn cast_of(&self, node: Node) -> Option<Node> {
        if let Op::Cast(of) = self.steps[node.0].0 { Some(of) } else { None }
    }

    /// Cells of input number `input`, as `kind`.
    pub fn load(&mut self, input: usize, kind: Type) -> Node {
        self.push(Op::Load(input), kind)
    }

    /// Values of `table`.
    pub fn table(&mut self, table: Table) -> Node {
        let kind = table.data().kind();
        self.tables.push(table);
        self.push(Op::Table(self.tables.len() - 1), kind)
    }

    /// `node` converted to `kind`, as Rust's `as` does; booleans become 0 and 1.
    ///
    /// # Errors
    /// [`Error::Grid`] for types that it doesn't convert; likewise the other steps.
    pub fn cast(&mut self, node: Node, kind: Type) -> Result<Node> {
        match (self.kind(node), kind) {
            (from, to) if from == to => Ok(node),
            (Type::Array, _) | (_, Type::Array | Type::Bool) => misfit("a cast", self.kind(node)),
            _ => Ok(self.push(Op::Cast(node), kind)),
        }
    }

    /// A function of one float.
    ///
    /// # Errors
    /// If it isn't one.
    pub fn math(&mut self, math: Math, node: Node) -> Result<Node> {
        match self.kind(node) {
            kind @ (Type::F32 | Type::F64) => Ok(self.push(Op::Math(math, node), kind)),
            kind => misfit("a function of floats", kind),
        }
    }

    /// A function of two numbers.
    ///
    /// # Errors
    /// If they aren't numbers of one type, or not what `arith` takes.
    pub fn arith(&mut self, arith: Arith, a: Node, b: Node) -> Result<Node> {
        let kind = self.number(a, b)?;
        let float = matches!(kind, Type::F32 | Type::F64);
        let fits = match arith {
            Arith::Add | Arith::Subtract | Arith::Multiply => true,
            Arith::Divide | Arith::Remainder => float || self.constant_of(b).is_some_and(divides),
            Arith::Power | Arith::Atan2 => float,
        };
        if fits { Ok(self.push(Op::Arith(arith, a, b), kind)) } else { misfit("arithmetic", kind) }
    }

    /// Whether `compare` holds between two values.
    ///
    /// # Errors
    /// If they aren't numbers or booleans of one type.
    pub fn compare(&mut self, compare: Compare, a: Node, b: Node) -> Result<Node> {
        if self.kind(a) != Type::Bool || self.kind(b) != Type::Bool {
            self.number(a, b)?;
        }
        Ok(self.push(Op::Compare(compare, a, b), Type::Bool))
    }

    /// Three-valued AND.
    ///
    /// # Errors
    /// If they aren't booleans.
    pub fn and(&mut self, a: Node, b: Node) -> Result<Node> {
        self.booleans(&[a, b])?;
        Ok(self.push(Op::And(a, b), Type::Bool))
    }

    /// Three-valued OR.
    ///
    /// # Errors
    /// If they aren't booleans.
    pub fn or(&mut self, a: Node, b: Node) -> Result<Node> {
        self.booleans(&[a, b])?;
        Ok(self.push(Op::Or(a, b), Type::Bool))
    }

    /// Three-valued NOT.
    ///
    /// # Errors
    /// If it isn't a boolean.
    pub fn not(&mut self, node: Node) -> Result<Node> {
        self.booleans(&[node])?;
        Ok(self.push(Op::Not(node), Type::Bool))
    }

    /// Whether a value is NULL.
    ///
    /// # Errors
    /// If it is an array, whose cells are the kept ones alone.
    pub fn is_null(&mut self, node: Node) -> Result<Node> {
        match self.kind(node) {
            Type::Array => misfit("IS NULL", Type::Array),
            _ => Ok(self.push(Op::IsNull(node), Type::Bool)),
        }
    }

    /// Whether a float is NaN.
    ///
    /// # Errors
    /// If it isn't a float.
    pub fn is_nan(&mut self, node: Node) -> Result<Node> {
        match self.kind(node) {
            Type::F32 | Type::F64 => Ok(self.push(Op::IsNan(node), Type::Bool)),
            kind => misfit("isnan", kind),
        }
    }

    /// A mask: true where `node` is true, false where it is false or NULL.
    ///
    /// # Errors
    /// If it isn't a boolean.
    pub fn truth(&mut self, node: Node) -> Result<Node> {
        self.booleans(&[node])?;
        let op = self.range_of(node).map_or(Op::Truth(node), Op::Within);
        Ok(self.push(op, Type::Bool))
    }

    /// The range that `node` asks the values of one input to be in, if that is what it does.
    fn range_of(&self, node: Node) -> Option<Range> {
        match self.steps[node.0].0 {
            Op::Compare(compare, a, b) => match (&self.steps[a.0].0, &self.steps[b.0].0) {
                (Op::Load(input), _) => Range::of(*input, compare, self.constant_of(b)?, false),
                (_, Op::Load(input)) => Range::of(*input, compare, self.constant_of(a)?, true),
                _ => None,
            },
            Op::And(a, b) => self.range_of(a)?.and(self.range_of(b)?),
            _ => None,
        }
    }

    /// `then` where the mask `when` is true, else `other`.
    ///
    /// # Errors
    /// If `when` isn't a mask, or the others aren't of one type.
    pub fn select(&mut self, when: Node, then: Node, other: Node) -> Result<Node> {
        let kind = self.kind(then);
        if !self.is_mask(Some(when)) || kind != self.kind(other) || kind == Type::Array {
            return misfit("a choice", kind);
        }
        Ok(self.push(Op::Select(when, then, other), kind))
    }

    /// Fails the program where `check` objects to a float that `guard` keeps.
    ///
    /// # Errors
    /// If it isn't a float, or `guard` isn't a mask.
    pub fn check(&mut self, check: Check, node: Node, guard: Option<Node>) -> Result<Node> {
        match self.kind(node) {
            Type::F32 | Type::F64 if self.is_mask(guard) => {
                Ok(self.push(Op::Check(check, node, guard), Type::Bool))
            }
            kind => misfit("a check", kind),
        }
    }

    /// Values of `foreign`, of type `kind`, for the cells that `guard` keeps; NULL for the others. It is given
    /// the values of `args`, all 32-bit integers.
    ///
    /// # Errors
    /// If `args` aren't, or `guard` isn't a mask.
    pub fn foreign(
        &mut self,
        foreign: Arc<dyn Foreign>,
        args: Vec<Node>,
        guard: Option<Node>,
        kind: Type,
    ) -> Result<Node> {
        if !self.is_mask(guard) || args.iter().any(|&arg| self.kind(arg) != Type::I32) {
            return misfit("a foreign function", kind);
        }
        self.foreign.push(foreign);
        Ok(self.push(Op::Foreign(self.foreign.len() - 1, args, guard), kind))
    }

    /// Makes the mask `node` decide whether a tile is computed any further than to it.
    ///
    /// # Errors
    /// If it isn't a mask.
    pub fn gate(&mut self, node: Node) -> Result<()> {
        if !self.is_mask(Some(node)) {
            return misfit("a gate", self.kind(node));
        }
        self.gate = Some(node);
        Ok(())
    }

    /// Notes that the values of `node` are read after a run.
    pub fn output(&mut self, node: Node) {
        if !self.outputs.contains(&node) {
            self.outputs.push(node);
        }
    }

    /// Notes that the mask `node` is read after a run.
    pub fn output_mask(&mut self, node: Node) {
        self.masks.push(node);
    }

    /// The program. NaN of float inputs is NULL if `nan_as_missing`.
    pub fn build(self, nan_as_missing: bool) -> Program {
        let order = self.taken();
        let mut last = (0..self.steps.len()).collect::<Vec<_>>();
        for &at in &order {
            self.steps[at].0.reads().into_iter().for_each(|node| last[node.0] = at);
        }
        self.roots().for_each(|node| last[node.0] = usize::MAX);
        let (mut lanes, mut free) = (Vec::new(), Vec::<usize>::new());
        let mut steps: Vec<Step> = self
            .steps
            .into_iter()
            .map(|(op, kind)| match op {
                Op::Within(range) if nan_as_missing => (Op::Within(range.without_nan()), kind),
                op => (op, kind),
            })
            .map(|(op, kind)| Step { op, kind, lane: 0 })
            .collect();
        for &at in &order {
            // A register that is free only after this step isn't written by it.
            let kind = steps[at].kind;
            let lane = match free.iter().position(|&lane| lanes[lane] == kind) {
                Some(place) => free.swap_remove(place),
                None => {
                    lanes.push(kind);
                    lanes.len() - 1
                }
            };
            steps[at].lane = lane;
            let mut done = steps[at].op.reads();
            done.sort_unstable();
            done.dedup();
            free.extend(done.iter().filter(|node| last[node.0] == at).map(|node| steps[node.0].lane));
            if last[at] == at {
                free.push(lane);
            }
        }
        Program {
            steps,
            order,
            tables: self.tables,
            foreign: self.foreign,
            lanes,
            gate: self.gate,
            outputs: self.outputs,
            nan_as_missing,
        }
    }

    /// The steps that are read after a run.
    fn roots(&self) -> impl Iterator<Item = Node> {
        self.outputs.iter().chain(&self.masks).chain(&self.gate).copied()
    }

    /// The steps that are read, by other ones or after a run, and those that object to cells.
    fn taken(&self) -> Vec<usize> {
        let mut taken = vec![false; self.steps.len()];
        self.roots().for_each(|node| taken[node.0] = true);
        for (at, (op, _)) in self.steps.iter().enumerate().rev() {
            taken[at] |= matches!(op, Op::Check(..));
            if taken[at] {
                op.reads().into_iter().for_each(|node| taken[node.0] = true);
            }
        }
        (0..self.steps.len()).filter(|&at| taken[at]).collect()
    }

    fn number(&self, a: Node, b: Node) -> Result<Type> {
        match (self.kind(a), self.kind(b)) {
            (kind, other) if kind == other && !matches!(kind, Type::Bool | Type::Array) => Ok(kind),
            (kind, _) => misfit("arithmetic", kind),
        }
    }

    fn booleans(&self, nodes: &[Node]) -> Result<()> {
        match nodes.iter().map(|&node| self.kind(node)).find(|&kind| kind != Type::Bool) {
            Some(kind) => misfit("logic", kind),
            None => Ok(()),
        }
    }

    /// Whether it is a boolean that is never NULL.
    fn is_mask(&self, node: Option<Node>) -> bool {
        node.is_none_or(|node| {
            matches!(self.steps[node.0].0, Op::Truth(_) | Op::Within(_) | Op::IsNull(_))
                || (self.kind(node) == Type::Bool && self.constant_of(node).is_some())
        })
    }
}

/// Whether an integer may be divided by it, whatever it is.
fn divides(divisor: &Data) -> bool {
    match divisor {
        Data::I32(value) => !matches!(value[..], [0 | -1]),
        Data::I64(value) => !matches!(value[..], [0 | -1]),
        Data::U64(value) => !matches!(value[..], [0]),
        _ => false,
    }
}

fn misfit<T>(step: &str, kind: Type) -> Result<T> {
    Err(Error::Grid { name: "expression".into(), what: format!("{step} doesn't take {kind:?}") })
}
