//! Programs against plain loops.

use super::*;
use crate::codec::Block;
use crate::tensor::step;
use arrow::array::{Array, ArrayRef, Int64Array};
use proptest::prelude::*;
use std::sync::Arc;

fn f64s(data: &Data) -> &[f64] {
    if let Data::F64(values) = data { values } else { panic!("{data:?} aren't doubles") }
}

fn constant(data: Data) -> Table {
    Table::try_new(&[], Vec::new(), data, None).unwrap()
}

fn flat(len: usize) -> Vec<Segment> {
    vec![Segment { first: 0, len }]
}

#[test]
fn nan_is_missing_where_it_comes_in_and_a_value_where_it_is_computed() {
    for missing in [true, false] {
        let mut builder = Builder::new();
        let x = builder.load(0, Type::F64);
        let zero = builder.table(constant(Data::F64(vec![0.0])));
        let ratio = builder.arith(Arith::Divide, x, zero).unwrap();
        builder.output(ratio);
        let mut machine = Machine::new(Arc::new(builder.build(missing)));
        machine.enter(&[0], &[4]);
        let block = Block::Float32(&[1.0, f32::NAN, 0.0, -1.0]);
        assert!(machine.run(&flat(4), &[Input { block: Some(block), valid: None }]).unwrap());
        let values = f64s(machine.values(ratio));
        assert!(values[0] == f64::INFINITY && values[2].is_nan() && values[3] == f64::NEG_INFINITY);
        let valid = machine.valid(ratio);
        assert_eq!(valid, if missing { Kept::Some(&[true, false, true, true]) } else { Kept::All });
    }
}

#[test]
fn a_closed_gate_ends_the_program() {
    let mut builder = Builder::new();
    let x = builder.load(0, Type::F32);
    let bound = builder.table(constant(Data::F32(vec![10.0])));
    let above = builder.compare(Compare::Less, bound, x).unwrap();
    let gate = builder.truth(above).unwrap();
    builder.gate(gate).unwrap();
    let negative = builder.check(Check::Negative, x, Some(gate)).unwrap();
    builder.output(negative);
    let mut machine = Machine::new(Arc::new(builder.build(true)));
    machine.enter(&[0], &[8]);
    let mut run = |cells: &[f32]| {
        let block = Some(Block::Float32(cells));
        let open = machine.run(&flat(cells.len()), &[Input { block, valid: None }]).unwrap();
        (open, machine.kept(gate) == Kept::All)
    };
    assert_eq!(run(&[-1.0, 3.0, f32::NAN]), (false, false), "what the gate drops isn't objected to");
    assert_eq!(run(&[-1.0, 30.0]), (true, false));
    assert_eq!(run(&[11.0, 30.0]), (true, true));
}

#[test]
fn objections_count_for_valid_and_kept_cells() {
    let mut builder = Builder::new();
    let x = builder.load(0, Type::F64);
    builder.check(Check::Negative, x, None).unwrap();
    let mut machine = Machine::new(Arc::new(builder.build(true)));
    machine.enter(&[0], &[8]);
    let mut run = |cells: &[f64], valid: Option<&[bool]>| {
        machine.run(&flat(cells.len()), &[Input { block: Some(Block::Float64(cells)), valid }]).is_ok()
    };
    assert!(run(&[0.0, -0.0, f64::NAN, 1.0], None));
    assert!(!run(&[1.0, -1e-300], None));
    assert!(run(&[1.0, -1.0], Some(&[true, false])));
}

#[test]
fn steps_of_other_types_are_refused() {
    let mut builder = Builder::new();
    let (x, n, flag) = (builder.load(0, Type::F32), builder.load(1, Type::I64), builder.load(2, Type::Bool));
    assert!(builder.arith(Arith::Add, x, n).is_err());
    assert!(builder.math(Math::Sqrt, n).is_err());
    assert!(builder.and(flag, x).is_err());
    assert!(builder.compare(Compare::Less, x, flag).is_err());
    assert!(builder.select(flag, x, x).is_err(), "a mask is never NULL");
    assert!(builder.gate(flag).is_err());
    let zero = builder.table(constant(Data::I64(vec![0])));
    assert!(builder.arith(Arith::Divide, n, zero).is_err());
    assert!(builder.arith(Arith::Divide, n, n).is_err());
    assert_eq!(builder.load(0, Type::F32), x, "steps are shared");
}

/// Squares of the kept cells.
#[derive(Debug)]
struct Squares;

impl Foreign for Squares {
    fn evaluate(&self, tile: &Tile<'_>) -> Result<ArrayRef, Box<dyn std::error::Error + Send + Sync>> {
        let kept = (0..tile.len).filter(|&at| match tile.kept {
            Kept::All => true,
            Kept::None => false,
            Kept::Some(mask) => mask[at],
        });
        let squares = kept.map(|at| i64::from(tile.args[0][at])).map(|n| (n != 2).then_some(n * n));
        Ok(Arc::new(squares.collect::<Int64Array>()))
    }
}

#[test]
fn foreign_steps_see_the_kept_cells_alone() {
    let mut builder = Builder::new();
    let n = builder.load(0, Type::I32);
    let bound = builder.table(constant(Data::I32(vec![5])));
    let few = builder.compare(Compare::Less, n, bound).unwrap();
    let few = builder.truth(few).unwrap();
    let squares = builder.foreign(Arc::new(Squares), vec![n], Some(few), Type::I64).unwrap();
    let array = builder.foreign(Arc::new(Squares), vec![n], Some(few), Type::Array).unwrap();
    builder.output(squares);
    builder.output(array);
    let mut machine = Machine::new(Arc::new(builder.build(true)));
    machine.enter(&[0], &[4]);
    let input = [Input { block: Some(Block::Int16(&[3, 9, 2, 4])), valid: None }];
    assert!(machine.run(&flat(4), &input).unwrap());
    let Data::I64(values) = machine.values(squares) else { panic!("squares") };
    assert_eq!((values[0], values[3]), (9, 16));
    assert_eq!(machine.valid(squares), Kept::Some(&[true, false, false, true]));
    let Data::Array(Some(array)) = machine.values(array) else { panic!("an array") };
    assert_eq!((array.len(), array.null_count()), (3, 1));
}

/// Three-valued logic by definition.
fn logic(or: bool, a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(x), _) | (_, Some(x)) if x == or => Some(or),
        (None, _) | (_, None) => None,
        _ => Some(!or),
    }
}

proptest! {
    #[test]
    fn logic_has_three_values(
        cells in prop::collection::vec((prop::option::of(any::<bool>()), prop::option::of(any::<bool>())), 1..40),
        uniform in prop::option::of(prop::option::of(any::<bool>())),
    ) {
        let split = |operand: Vec<Option<bool>>| -> (Vec<u8>, Vec<bool>) {
            operand.into_iter().map(|value| (u8::from(value.unwrap_or(true)), value.is_some())).unzip()
        };
        let (left, right): (Vec<_>, Vec<_>) = cells.iter().copied().unzip();
        let ((a, a_valid), (b, b_valid)) = (split(left), split(right));
        let mut builder = Builder::new();
        let left = builder.load(0, Type::Bool);
        let right = match uniform {
            None => builder.load(1, Type::Bool),
            Some(value) => {
                let data = Data::Bool(vec![value.unwrap_or(false)]);
                builder.table(Table::try_new(&[], vec![], data, Some(vec![value.is_some()])).unwrap())
            }
        };
        let (and, or) = (builder.and(left, right).unwrap(), builder.or(left, right).unwrap());
        [and, or].into_iter().for_each(|node| builder.output(node));
        let mut machine = Machine::new(Arc::new(builder.build(true)));
        machine.enter(&[0], &[cells.len() as u64]);
        let inputs = [
            Input { block: Some(Block::Bitmask(&a)), valid: Some(&a_valid) },
            Input { block: Some(Block::Bitmask(&b)), valid: Some(&b_valid) },
        ];
        machine.run(&flat(cells.len()), &inputs).unwrap();
        for (node, is_or) in [(and, false), (or, true)] {
            let Data::Bool(values) = machine.values(node) else { panic!("booleans") };
            for (at, &(a, b)) in cells.iter().enumerate() {
                let valid = match machine.valid(node) {
                    Kept::All => true,
                    Kept::None => false,
                    Kept::Some(mask) => mask[at],
                };
                prop_assert_eq!(valid.then(|| values[at]), logic(is_or, a, uniform.unwrap_or(b)));
            }
        }
    }

    #[test] // every cell of a box finds the value of its position, in whatever segments it comes
    fn tables_are_spread_over_boxes(
        dims in prop::collection::vec((1u64..5, any::<bool>(), 0u64..4, 1u64..5), 1..5),
        cut in 1usize..9,
        skip in 0usize..3,
    ) {
        let shape: Vec<u64> = dims.iter().map(|dim| dim.0 + dim.2).collect();
        let origin: Vec<u64> = dims.iter().map(|dim| dim.2).collect();
        let extent: Vec<u64> = dims.iter().map(|dim| dim.0.min(dim.3)).collect();
        let over: Vec<usize> = (0..dims.len()).filter(|&dim| dims[dim].1).collect();
        let size: u64 = over.iter().map(|&dim| shape[dim]).product();
        let valid: Vec<bool> = (0..size).map(|at| at % 7 != 3).collect();
        let data = Data::F64((0..size).map(|at| at as f64).collect());
        let mut builder = Builder::new();
        let node = builder.table(Table::try_new(&shape, over.clone(), data, Some(valid)).unwrap());
        builder.output(node);
        let mut machine = Machine::new(Arc::new(builder.build(true)));
        machine.enter(&origin, &extent);
        let cells: usize = extent.iter().product::<u64>() as usize;
        let mut want = Vec::new();
        let mut at = vec![0; extent.len()];
        for _ in 0..cells {
            want.push(over.iter().fold(0, |flat, &dim| flat * shape[dim] + origin[dim] + at[dim] as u64));
            step(&mut at, |dim| extent[dim] as usize);
        }
        let mut segments = Vec::new();
        let mut start = 0;
        while start < cells {
            let len = cut.min(cells - start);
            segments.push(Segment { first: start as u64, len });
            start += len + skip;
        }
        for segments in [&segments[..], &segments[segments.len() - 1..]] {
            machine.run(segments, &[]).unwrap();
            let flats = segments.iter().flat_map(|s| s.first as usize..s.first as usize + s.len);
            for (i, flat) in flats.enumerate() {
                let valid = match machine.valid(node) {
                    Kept::All => true,
                    Kept::None => false,
                    Kept::Some(mask) => mask[i],
                };
                prop_assert_eq!(valid, want[flat] % 7 != 3);
                prop_assert!(!valid || f64s(machine.values(node))[i] == want[flat] as f64);
            }
        }
    }

    #[test] // zeros are equal, NaN is in its place in the total order
    fn comparisons_are_those_of_arrow(a in any::<f64>(), b in any::<f64>(), pick in 0usize..4) {
        let (a, b) = match pick {
            0 => (a, a),
            1 => (0.0, -0.0),
            2 => (a, f64::NAN),
            _ => (a, b),
        };
        let mut builder = Builder::new();
        let (x, y) = (builder.load(0, Type::F64), builder.load(1, Type::F64));
        let ops = [Compare::Equal, Compare::NotEqual, Compare::Less, Compare::LessOrEqual];
        let nodes = ops.map(|op| builder.compare(op, x, y).unwrap());
        nodes.into_iter().for_each(|node| builder.output(node));
        let mut machine = Machine::new(Arc::new(builder.build(false)));
        machine.enter(&[0], &[1]);
        let (a_cells, b_cells) = ([a], [b]);
        let input = |cells| Input { block: Some(Block::Float64(cells)), valid: None };
        machine.run(&flat(1), &[input(&a_cells), input(&b_cells)]).unwrap();
        let order = (if a == 0.0 { 0.0 } else { a }).total_cmp(&if b == 0.0 { 0.0 } else { b });
        let want = [order.is_eq(), order.is_ne(), order.is_lt(), order.is_le()];
        for (node, want) in nodes.into_iter().zip(want) {
            let Data::Bool(values) = machine.values(node) else { panic!("booleans") };
            prop_assert_eq!(values[0], want);
        }
    }
}

proptest! {
    #[test] // tested on the block, or loaded and compared
    fn ranges_are_comparisons(
        cells in prop::collection::vec(prop_oneof![
            Just(0.0f32), Just(-0.0), Just(f32::NAN), Just(-f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY),
            (-3i8..3).prop_map(f32::from)
        ], 1..700),
        bounds in prop::collection::vec((prop_oneof![
            Just(0.0f32), Just(-0.0), Just(f32::NAN), Just(f32::INFINITY), (-3i8..3).prop_map(f32::from)
        ], 0..4usize, any::<bool>()), 1..3),
        missing in prop::collection::vec(any::<bool>(), 700),
        (nan_as_missing, double, holes) in any::<(bool, bool, bool)>(),
    ) {
        let kind = if double { Type::F64 } else { Type::F32 };
        let mut builder = Builder::new();
        let x = builder.load(0, kind);
        let mut masks = Vec::new();
        for plain in [false, true] {
            let mut all = None;
            for &(bound, compare, flipped) in &bounds {
                let data = if double { Data::F64(vec![bound.into()]) } else { Data::F32(vec![bound]) };
                let bound = builder.table(constant(data));
                let compare = [Compare::Equal, Compare::NotEqual, Compare::Less, Compare::LessOrEqual][compare];
                let (a, b) = if flipped { (bound, x) } else { (x, bound) };
                let holds = builder.compare(compare, a, b).unwrap();
                all = Some(match all { Some(all) => builder.and(all, holds).unwrap(), None => holds });
            }
            let mut all = all.unwrap();
            if plain {
                // No range any more, but the same.
                all = builder.not(all).unwrap();
                all = builder.not(all).unwrap();
            }
            let mask = builder.truth(all).unwrap();
            builder.output_mask(mask);
            masks.push(mask);
        }
        let mut machine = Machine::new(Arc::new(builder.build(nan_as_missing)));
        machine.enter(&[0], &[cells.len() as u64]);
        let valid: Vec<bool> = cells.iter().zip(missing).map(|(_, missing)| !missing).collect();
        let input = Input { block: Some(Block::Float32(&cells)), valid: holes.then_some(&valid) };
        machine.run(&flat(cells.len()), &[input]).unwrap();
        prop_assert_eq!(machine.kept(masks[0]), machine.kept(masks[1]));
    }
}
