//! Truth, choice and the one type that several values have together.

use std::cmp::Ordering;

use arrow::array::{Array, AsArray, BooleanArray, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{Result as PlanResult, ScalarValue, exec_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, lit};

use super::arithmetic::{Number, number};
use super::calendar::{DAY, format_datetime, format_time};
use super::column::{Column, build};
use super::value::Val;
use super::{
    Def, MANY, Ret, called, datetime_field, decimal_field, field, fsp_of, json_field, kernel, strict, time_field,
};
use crate::error::{Error, Result};
use crate::types::{MySqlType, is_json};

pub(super) fn list() -> Vec<Def> {
    vec![
        called("mysql_truth", 1..=1, Ret::Bool, |env, args| {
            env.settings.reads_number(&args[0], "DOUBLE");
            Ok(args[0].truth().map_or(Val::Null, Val::bool))
        })
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
        // Gives its argument the type of the other one, which is not looked at.
        kernel("mysql_as", 2..=2, Ret::By(|fields, _| Ok(fields[1].as_ref().clone())), as_type),
        called("mysql_eq", 2..=2, Ret::Bool, |_, args| Ok(compared(args, Ordering::is_eq))),
        called("mysql_not_eq", 2..=2, Ret::Bool, |_, args| Ok(compared(args, Ordering::is_ne))),
        called("mysql_lt", 2..=2, Ret::Bool, |_, args| Ok(compared(args, Ordering::is_lt))),
        called("mysql_lt_eq", 2..=2, Ret::Bool, |_, args| Ok(compared(args, Ordering::is_le))),
        called("mysql_gt", 2..=2, Ret::Bool, |_, args| Ok(compared(args, Ordering::is_gt))),
        called("mysql_gt_eq", 2..=2, Ret::Bool, |_, args| Ok(compared(args, Ordering::is_ge))),
        called("mysql_same", 2..=2, Ret::Bool, |_, args| {
            let both_null = args[0].is_null() && args[1].is_null();
            Ok(Val::bool(both_null || args[0].compare(&args[1]) == Some(Ordering::Equal)))
        }),
        called("mysql_in", 2..=MANY, Ret::Bool, |_, args| {
            let found = args[1..].iter().any(|item| args[0].compare(item) == Some(Ordering::Equal));
            let unknown = !found && args.iter().any(Val::is_null);
            Ok(if unknown { Val::Null } else { Val::bool(found) })
        }),
        called("mysql_between", 3..=3, Ret::Bool, |_, args| {
            let above = args[0].compare(&args[1]).map(Ordering::is_ge);
            let below = args[0].compare(&args[2]).map(Ordering::is_le);
            Ok(match (above, below) {
                (Some(false), _) | (_, Some(false)) => Val::bool(false),
                (Some(true), Some(true)) => Val::bool(true),
                _ => Val::Null,
            })
        }),
        // Which WHEN of a CASE its operand is, counted from 1.
        called("mysql_case_index", 2..=MANY, Ret::Int, |_, args| {
            let found = args[1..].iter().position(|when| args[0].compare(when) == Some(Ordering::Equal));
            Ok(found.map_or(Val::Null, |at| Val::Int(at as i64 + 1)))
        }),
        // The place of a text among the members of an ENUM, the bits of a SET's.
        kernel("mysql_member", 2..=2, Ret::UInt, member),
        // Bytes that were written as digits: their field tells so, and a column of numbers takes the number.
        kernel("mysql_hex", 1..=1, Ret::By(|_, _| Ok(hex_field())), |args| Ok(args.args[0].clone())),
        // The value of `mysql_only_row`, unless there were more rows.
        kernel("mysql_value_of_row", 1..=1, Ret::By(value_field), value_of_row),
        strict("greatest", 2..=MANY, Ret::By(common), |env, args| extreme(env.returns, args, Ordering::Greater)),
        strict("least", 2..=MANY, Ret::By(common), |env, args| extreme(env.returns, args, Ordering::Less)),
        called("mysql_row_key", 1..=MANY, Ret::Bytes, |_, args| {
            let mut key = Vec::new();
            for value in args {
                if value.is_null() {
                    return Ok(Val::Null);
                }
                let text = key_text(value);
                let bytes = text.as_ref().map_or_else(|| value.to_bytes(), |text| text.as_bytes().into());
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

fn compared(args: &[Val<'_>], holds: fn(Ordering) -> bool) -> Val<'static> {
    args[0].compare(&args[1]).map_or(Val::Null, |order| Val::bool(holds(order)))
}

/// Returns one text for all values that are equal, where the values' own texts differ: 1 and 1.0, a date and its
/// midnight.
fn key_text(value: &Val<'_>) -> Option<String> {
    match value {
        Val::Dec(decimal) if decimal.scale > 0 => {
            let text = decimal.to_string();
            Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
        }
        Val::Date(days) => Some(format_datetime(i64::from(*days) * DAY, 6)),
        Val::DateTime(micros, _) => Some(format_datetime(*micros, 6)),
        Val::Time(micros, _) => Some(format_time(*micros, 6)),
        _ => None,
    }
}

fn as_type(args: &ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
    let ty = args.return_field.data_type();
    let given = &args.args[0];
    if given.data_type() == *ty {
        return Ok(given.clone());
    }
    let array = match given {
        ColumnarValue::Array(array) => array.clone(),
        ColumnarValue::Scalar(value) => value.to_array_of_size(1)?,
    };
    let array = if *array.data_type() == DataType::Null {
        new_null_array(ty, array.len())
    } else {
        let column = Column::new(array.as_ref(), &args.arg_fields[0], false)?;
        build(ty, array.len(), (0..array.len()).map(|row| Ok(column.get(row))))?
    };
    Ok(match given {
        ColumnarValue::Array(_) => ColumnarValue::Array(array),
        ColumnarValue::Scalar(_) => ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?),
    })
}

fn member(args: &ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
    let ColumnarValue::Scalar(declared) = &args.args[1] else { return exec_err!("BUG: members are constants") };
    let declared = MySqlType::parse(declared.try_as_str().flatten().unwrap_or_default()).map_err(super::external)?;
    let (names, is_set) = match &declared {
        MySqlType::Enum(names) => (names, false),
        MySqlType::Set(names) => (names, true),
        other => return exec_err!("BUG: {other} has no members"),
    };
    let place = |text: &str| names.iter().position(|name| name == text).map(|at| at as u64);
    let array = args.args[0].to_array(args.number_rows)?;
    let column = Column::new(array.as_ref(), &args.arg_fields[0], false)?;
    let values = (0..array.len()).map(|row| {
        let value = column.get(row);
        let Some(text) = value.to_text() else { return Ok(Val::Null) };
        Ok(Val::UInt(if is_set {
            text.split(',').filter_map(place).fold(0, |bits, at| bits | 1 << at)
        } else {
            place(&text).map_or(0, |at| at + 1)
        }))
    });
    Ok(ColumnarValue::Array(build(&DataType::UInt64, array.len(), values)?))
}

fn hex_field() -> Field {
    let metadata = std::collections::HashMap::from([(crate::types::HEX.to_owned(), String::new())]);
    field(DataType::Binary).with_metadata(metadata)
}

fn value_field(fields: &[FieldRef], _: &[Option<&ScalarValue>]) -> Result<Field> {
    match fields[0].data_type() {
        DataType::Struct(parts) => Ok(parts[0].as_ref().clone()),
        other => Err(Error::internal(format!("BUG: {other} is no row of a subquery"))),
    }
}

fn value_of_row(args: &ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
    let array = args.args[0].to_array(args.number_rows)?;
    let rows = array.as_struct();
    let more = rows.column(1).as_boolean();
    if (0..rows.len()).any(|row| rows.is_valid(row) && more.is_valid(row) && more.value(row)) {
        return Err(super::external(Error::new(1242, "21000", "Subquery returns more than 1 row")));
    }
    let value = rows.column(0).clone();
    let Some(nulls) = rows.nulls() else { return Ok(ColumnarValue::Array(value)) };
    let absent = BooleanArray::new(!nulls.inner(), None);
    Ok(ColumnarValue::Array(arrow::compute::nullif(&value, &absent)?))
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
