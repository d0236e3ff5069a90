//! DataFusion's functions of floats that programs have, too.

use crate::reduce::expr::Math;
use datafusion::functions::math;
use datafusion::logical_expr::ScalarUDF;
use std::sync::{Arc, LazyLock};

/// What a function is to a program.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Known {
    Math(Math),
    Power,
    Atan2,
    IsNan,
}

/// `function`, if it is one of DataFusion's own: another of the same name isn't taken for it.
pub(crate) fn known(function: &ScalarUDF) -> Option<Known> {
    static ALL: LazyLock<Vec<(Arc<ScalarUDF>, Known)>> = LazyLock::new(|| {
        let of_one = [
            (math::abs(), Math::Abs),
            (math::sqrt(), Math::Sqrt),
            (math::cbrt(), Math::Cbrt),
            (math::exp(), Math::Exp),
            (math::ln(), Math::Ln),
            (math::log2(), Math::Log2),
            (math::log10(), Math::Log10),
            (math::sin(), Math::Sin),
            (math::cos(), Math::Cos),
            (math::tan(), Math::Tan),
            (math::asin(), Math::Asin),
            (math::acos(), Math::Acos),
            (math::atan(), Math::Atan),
            (math::sinh(), Math::Sinh),
            (math::cosh(), Math::Cosh),
            (math::tanh(), Math::Tanh),
            (math::asinh(), Math::Asinh),
            (math::acosh(), Math::Acosh),
            (math::atanh(), Math::Atanh),
            (math::radians(), Math::Radians),
            (math::degrees(), Math::Degrees),
            (math::floor(), Math::Floor),
            (math::ceil(), Math::Ceil),
            (math::round(), Math::Round),
            (math::signum(), Math::Signum),
        ];
        let others =
            [(math::power(), Known::Power), (math::atan2(), Known::Atan2), (math::isnan(), Known::IsNan)];
        of_one.into_iter().map(|(function, math)| (function, Known::Math(math))).chain(others).collect()
    });
    ALL.iter().find(|(known, _)| known.as_ref() == function).map(|(_, known)| *known)
}
