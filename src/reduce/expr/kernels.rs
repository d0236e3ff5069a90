//! The loops, compiled for several vector units and chosen at run time.

use super::lane::{Kept, Lane, State, Value};
use crate::reduce::kernels::count_true;
use multiversion::multiversion;

/// `out[i] = f(a[i])`.
#[multiversion(targets("x86_64+avx2+bmi2"))]
pub(super) fn map1<A: Copy, O, F: Fn(A) -> O>(a: &[A], out: &mut [O], f: F) {
    for (out, &a) in out.iter_mut().zip(a) {
        *out = f(a);
    }
}

/// `out[i] = f(a[i], b[i])`.
#[multiversion(targets("x86_64+avx2+bmi2"))]
pub(super) fn map2<A: Copy, B: Copy, O, F: Fn(A, B) -> O>(a: &[A], b: &[B], out: &mut [O], f: F) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = f(a, b);
    }
}

/// `out[i] = f(a[i], b[i], c[i])`.
#[multiversion(targets("x86_64+avx2+bmi2"))]
pub(super) fn map3<A: Copy, B: Copy, C: Copy, O, F: Fn(A, B, C) -> O>(
    a: &[A],
    b: &[B],
    c: &[C],
    out: &mut [O],
    f: F,
) {
    for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
        *out = f(a, b, c);
    }
}

/// Whether `f` holds for any of `cells`, all of which are looked at.
#[multiversion(targets("x86_64+avx2+bmi2"))]
pub(super) fn any<A: Copy, F: Fn(A) -> bool>(cells: &[A], f: F) -> bool {
    // In lanes as wide as cells are: vector units would have to narrow others.
    match size_of::<A>() {
        8 => cells.iter().fold(0u64, |any, &cell| any | u64::from(f(cell))) != 0,
        _ => cells.iter().fold(0u32, |any, &cell| any | u32::from(f(cell))) != 0,
    }
}

/// How many of `mask` are true.
#[multiversion(targets("x86_64+avx2+bmi2"))]
pub(super) fn count(mask: &[bool]) -> usize {
    count_true(mask) as usize
}

/// `f` of the values of `a`, which are valid where `a` is.
pub(super) fn unary<A: Value, O: Value>(a: &Lane, out: &mut Lane, f: impl Fn(A) -> O) {
    out.valid.set(a.valid.kept());
    if a.valid.state == State::None {
        return out.set_null();
    }
    if a.uniform {
        return out.set_uniform(f(a.first()));
    }
    let a = A::of(&a.data);
    map1(a, out.cells(a.len()), f);
}

/// `f` of the values of `a` and `b`, valid where both are.
pub(super) fn binary<A: Value, B: Value, O: Value>(
    a: &Lane,
    b: &Lane,
    out: &mut Lane,
    f: impl Fn(A, B) -> O,
) {
    out.valid.both(&a.valid, &b.valid);
    if out.valid.state == State::None {
        return out.set_null();
    }
    let (left, right) = (A::of(&a.data), B::of(&b.data));
    match (a.uniform, b.uniform) {
        (true, true) => out.set_uniform(f(a.first(), b.first())),
        (true, false) => {
            let a = a.first();
            map1(right, out.cells(right.len()), |b| f(a, b));
        }
        (false, true) => {
            let b = b.first();
            map1(left, out.cells(left.len()), |a| f(a, b));
        }
        (false, false) => map2(left, right, out.cells(left.len()), f),
    }
}

/// Three-valued AND (or, with `OR`, OR): false (true) wherever one is; else NULL wherever one is.
pub(super) fn logic<const OR: bool>(a: &Lane, b: &Lane, out: &mut Lane, len: usize) {
    for (one, other) in [(a, b), (b, a)] {
        if one.uniform && one.valid.state == State::All {
            if one.first::<bool>() == OR {
                out.valid.state = State::All;
                return out.set_uniform(OR);
            }
            return copy::<bool>(other, out);
        }
    }
    if (a.valid.state, b.valid.state) == (State::All, State::All) {
        return binary(a, b, out, |a: bool, b: bool| if OR { a | b } else { a & b });
    }
    let at = |lane: &Lane, at: usize| {
        let valid = match lane.valid.kept() {
            Kept::All => true,
            Kept::None => false,
            Kept::Some(mask) => mask[at],
        };
        (valid, bool::of(&lane.data)[if lane.uniform { 0 } else { at }])
    };
    out.cells::<bool>(len);
    let Lane { data, valid, .. } = out;
    valid.mask.resize(len, true);
    valid.state = State::Mask;
    for (i, (value, valid)) in bool::of_mut(data).iter_mut().zip(&mut valid.mask).enumerate() {
        let ((a_valid, a), (b_valid, b)) = (at(a, i), at(b, i));
        let decided = (a_valid & (a == OR)) | (b_valid & (b == OR));
        *value = decided == OR;
        *valid = decided | (a_valid & b_valid);
    }
}

/// The same lane.
pub(super) fn copy<T: Value>(from: &Lane, out: &mut Lane) {
    out.valid.set(from.valid.kept());
    let values = T::of_mut(&mut out.data);
    values.clear();
    values.extend_from_slice(T::of(&from.data));
    out.uniform = from.uniform;
}

/// `then` where `when` (never NULL) is true, else `other`.
pub(super) fn select<T: Value>(when: &Lane, then: &Lane, other: &Lane, out: &mut Lane, len: usize) {
    if when.uniform {
        return copy::<T>(if when.first() { then } else { other }, out);
    }
    let when = bool::of(&when.data);
    let (a, b) = (T::of(&then.data), T::of(&other.data));
    let values = out.cells(len);
    match (then.uniform, other.uniform) {
        (true, true) => {
            let (a, b) = (then.first::<T>(), other.first::<T>());
            map1(when, values, |when| if when { a } else { b });
        }
        (true, false) => {
            let a = then.first::<T>();
            map2(when, b, values, |when, b| if when { a } else { b });
        }
        (false, true) => {
            let b = other.first::<T>();
            map2(when, a, values, |when, a| if when { a } else { b });
        }
        (false, false) => map3(when, a, b, values, |when, a, b| if when { a } else { b }),
    }
    let mask = &mut out.valid.mask;
    let (a, b) = (then.valid.kept(), other.valid.kept());
    out.valid.state = match (a, b) {
        (Kept::All, Kept::All) => State::All,
        (Kept::None, Kept::None) => State::None,
        _ => {
            mask.resize(len, true);
            let of = |kept: Kept<'_>, at: usize| match kept {
                Kept::All => true,
                Kept::None => false,
                Kept::Some(mask) => mask[at],
            };
            for (at, (valid, &when)) in mask.iter_mut().zip(when).enumerate() {
                *valid = if when { of(a, at) } else { of(b, at) };
            }
            State::Mask
        }
    };
}
