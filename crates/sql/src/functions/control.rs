//! Truth, choice and the one type that several values have together.

use std::cmp::Ordering;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{Result as PlanResult, ScalarValue};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{Expr, lit};

use super::arithmetic::{Number, number};
use super::value::Val;
use super::{Def, MANY, Ret, called, datetime_field, decimal_field, field, fsp_of, json_field, strict, time_field};
use crate::error::Result;
use crate::types::is_json;

pub(super) fn list() -> Vec<Def> {
    vec![
        called("mysql_truth", 1..=1, Ret::Bool, |_, args| Ok(args[0].truth().map_or(Val::Null, Val::bool)))
            .simplified(truth),
        called("mysql_xor", 2..=2, Ret::Bool, |_, args| {
            Ok(args[0].truth().zip(args[1].truth()).map_or(Val::Null, |(left, right)| Val::bool(left != right)))
        }),
        called("ifnull", 2..=2, Ret::By(common), |_, args| Ok(first(args))).alias(&["nvl"]),
        called("coalesce", 1..=MANY, Ret::By(common), |_, args| Ok(first(args))),
        called("nullif", 2..=2, Ret::By(|fields, _| Ok(as_first(&fields[0]))), |_, args| {
            let same = args[0].compare(&args[1]) == Some(Ordering::Equal);
            Ok(if same { Val::Null } else { args[0].clone() })
        }),
        called("isnull", 1..=1, Ret::Bool, |_, args| Ok(Val::bool(args[0].is_null()))),
        // Gives its argument the type that it shares with the others, which are not looked at.
        called("mysql_as_common", 2..=MANY, Ret::By(common), |_, args| Ok(args[0].clone())),
        strict("greatest", 2..=MANY, Ret::By(common), |env, args| extreme(env.returns, args, Ordering::Greater)),
        strict("least", 2..=MANY, Ret::By(common), |env, args| extreme(env.returns, args, Ordering::Less)),
        called("mysql_row_key", 1..=MANY, Ret::Bytes, |_, args| {
            let mut key = Vec::new();
            for value in args {
                if value.is_null() {
                    return Ok(Val::Null);
                }
                let bytes = value.to_bytes();
                key.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                key.extend_from_slice(&bytes);
            }
            Ok(Val::Bytes(key.into()))
        }),
    ]
}

/// Returns the field that can hold values of all these fields, as IF, COALESCE, CASE and GREATEST answer them.
pub fn unify(fields: &[FieldRef], constants: &[Option<&ScalarValue>]) -> Field {
    let fields: Vec<(&Field, Option<&ScalarValue>)> = fields
        .iter()
        .enumerate()
        .map(|(index, field)| (field.as_ref(), constants.get(index).copied().flatten()))
        .filter(|(field, _)| *field.data_type() != DataType::Null)
        .collect();
    if fields.is_empty() {
        return field(DataType::Null);
    }
    let all = |test: fn(&DataType) -> bool| fields.iter().all(|(field, _)| test(field.data_type()));
    if fields.iter().all(|(field, _)| is_json(field)) {
        return json_field();
    }
    let fsp = || fields.iter().map(|(field, constant)| fsp_of(field, *constant)).max().unwrap_or(0);
    if all(|ty| matches!(ty, DataType::Date32)) {
        return field(DataType::Date32);
    }
    if all(|ty| matches!(ty, DataType::Date32 | DataType::Timestamp(..))) {
        return datetime_field(fsp());
    }
    if all(|ty| matches!(ty, DataType::Duration(_))) {
        return time_field(fsp());
    }
    if all(|ty| *ty == DataType::Boolean) {
        return field(DataType::Boolean);
    }
    if all(|ty| ty.is_numeric() || *ty == DataType::Boolean) {
        if all(|ty| matches!(ty, DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64)) {
            return field(DataType::UInt64);
        }
        let numbers: Vec<Number> = fields.iter().map(|(field, constant)| number(field, *constant)).collect();
        if numbers.contains(&Number::Double) {
            return field(DataType::Float64);
        }
        let wide = numbers.iter().any(|number| matches!(number, Number::Int { digits: 20, unsigned: true }));
        if !wide && numbers.iter().all(|number| matches!(number, Number::Int { .. })) {
            return field(DataType::Int64);
        }
        let (mut whole, mut scale) = (0, 0);
        for number in numbers {
            let (p, s) = match number {
                Number::Int { digits, .. } => (digits, 0),
                Number::Dec { precision, scale } => (precision, scale),
                Number::Double => (17, 0),
            };
            whole = whole.max(p.saturating_sub(s));
            scale = scale.max(s);
        }
        return decimal_field(whole + scale, scale);
    }
    let binary = |ty: &DataType| matches!(ty, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    if fields.iter().any(|(field, _)| binary(field.data_type())) {
        return field(DataType::Binary);
    }

    field(DataType::Utf8)
}

fn common(fields: &[FieldRef], constants: &[Option<&ScalarValue>]) -> Result<Field> {
    Ok(unify(fields, constants))
}

fn as_first(first: &Field) -> Field {
    match first.data_type() {
        DataType::Boolean | DataType::Int8 | DataType::Int16 | DataType::Int32 => field(DataType::Int64),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => field(DataType::UInt64),
        DataType::Float32 => field(DataType::Float64),
        DataType::LargeUtf8 | DataType::Utf8View => first.clone().with_data_type(DataType::Utf8),
        DataType::LargeBinary | DataType::BinaryView => field(DataType::Binary),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => datetime_field(6),
        _ => first.clone(),
    }
}

fn first<'a>(args: &[Val<'a>]) -> Val<'a> {
    args.iter().find(|value| !value.is_null()).cloned().unwrap_or(Val::Null)
}

fn extreme<'a>(returns: &Field, args: &[Val<'a>], wanted: Ordering) -> Result<Val<'a>> {
    let as_text = *returns.data_type() == DataType::Utf8;
    let mut best = &args[0];
    for value in &args[1..] {
        let order = if as_text {
            value.to_text().unwrap_or_default().as_ref().cmp(best.to_text().unwrap_or_default().as_ref())
        } else {
            value.compare(best).unwrap_or(Ordering::Equal)
        };
        if order == wanted {
            best = value;
        }
    }
    Ok(best.clone())
}

/// Gives predicates their native form, so that scans can prune with them.
fn truth(mut args: Vec<Expr>, info: &SimplifyContext) -> PlanResult<ExprSimplifyResult> {
    let Some(argument) = args.first() else { return Ok(ExprSimplifyResult::Original(args)) };
    match info.get_data_type(argument)? {
        DataType::Boolean => Ok(ExprSimplifyResult::Simplified(args.remove(0))),
        ty if ty.is_integer() => {
            let zero = ScalarValue::new_zero(&ty)?;
            Ok(ExprSimplifyResult::Simplified(args.remove(0).not_eq(lit(zero))))
        }
        _ => Ok(ExprSimplifyResult::Original(args)),
    }
}
