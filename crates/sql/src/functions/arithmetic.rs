//! `+ - * / DIV %`, unary minus and the bit operators, with MySQL's types and errors.
//!
//! Integers are BIGINT, unsigned as soon as one side is; decimals are exact; anything else is a double. What leaves the
//! range is error 1690, a division by zero is NULL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::compute::kernels::arity::{try_binary, try_unary};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Float64Type, Int64Type};
use arrow::error::ArrowError;
use datafusion::common::{Result as PlanResult, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::column::{Column, build};
use super::value::{Decimal, Val, finite, out_of_range, pow10};
use super::{Def, Ret, decimal_field, external, field, fsp_of, kernel, strict};
use crate::error::{Error, Result};

pub(super) fn list() -> Vec<Def> {
    vec![
        kernel("mysql_add", 2..=2, Ret::By(|fields, constants| result(Op::Add, fields, constants)), |args| {
            run(Op::Add, args)
        }),
        kernel("mysql_subtract", 2..=2, Ret::By(|fields, constants| result(Op::Subtract, fields, constants)), |args| {
            run(Op::Subtract, args)
        }),
        kernel("mysql_multiply", 2..=2, Ret::By(|fields, constants| result(Op::Multiply, fields, constants)), |args| {
            run(Op::Multiply, args)
        }),
        kernel("mysql_divide", 2..=2, Ret::By(|fields, constants| result(Op::Divide, fields, constants)), |args| {
            run(Op::Divide, args)
        }),
        kernel("mysql_div", 2..=2, Ret::By(|fields, constants| result(Op::Div, fields, constants)), |args| {
            run(Op::Div, args)
        }),
        kernel("mod", 2..=2, Ret::By(|fields, constants| result(Op::Mod, fields, constants)), |args| {
            run(Op::Mod, args)
        }),
        strict("mysql_negate", 1..=1, Ret::By(negated), |env, args| negate(env.returns, &args[0])),
        // What SUM adds up: numbers as they are, other values as arithmetic takes them.
        kernel("mysql_summand", 1..=1, Ret::By(|fields, constants| Ok(summand(fields, constants))), |args| {
            let arg = &args.args[0];
            if arg.data_type() == *args.return_field.data_type() {
                return Ok(arg.clone());
            }
            let array = arg.to_array(args.number_rows)?;
            let column = Column::new(array.as_ref(), &args.arg_fields[0], false)?;
            let values = (0..args.number_rows).map(|row| Ok(column.get(row)));
            Ok(ColumnarValue::Array(build(args.return_field.data_type(), args.number_rows, values)?))
        }),
        strict("mysql_average", 2..=2, Ret::By(|fields, _| Ok(average(&fields[0]))), |env, args| {
            let (sum, count) = (&args[0], &args[1]);
            if count.to_int() == 0 {
                return Ok(Val::Null);
            }
            match env.returns.data_type() {
                DataType::Decimal128(_, scale) => {
                    let quotient = sum
                        .to_decimal()
                        .zip(count.to_decimal())
                        .and_then(|(sum, count)| sum.divide(count, *scale as u8));
                    quotient.map(Val::Dec).ok_or_else(|| out_of_range("DECIMAL", "AVG"))
                }
                _ => Ok(Val::Float(sum.to_f64() / count.to_f64())),
            }
        }),
        strict("mysql_bit_and", 2..=2, Ret::UInt, |_, args| Ok(Val::UInt(args[0].to_bits() & args[1].to_bits()))),
        strict("mysql_bit_or", 2..=2, Ret::UInt, |_, args| Ok(Val::UInt(args[0].to_bits() | args[1].to_bits()))),
        strict("mysql_bit_xor", 2..=2, Ret::UInt, |_, args| Ok(Val::UInt(args[0].to_bits() ^ args[1].to_bits()))),
        strict("mysql_shift_left", 2..=2, Ret::UInt, |_, args| {
            Ok(Val::UInt(
                u32::try_from(args[1].to_bits()).ok().and_then(|by| args[0].to_bits().checked_shl(by)).unwrap_or(0),
            ))
        }),
        strict("mysql_shift_right", 2..=2, Ret::UInt, |_, args| {
            Ok(Val::UInt(
                u32::try_from(args[1].to_bits()).ok().and_then(|by| args[0].to_bits().checked_shr(by)).unwrap_or(0),
            ))
        }),
        strict("mysql_bit_not", 1..=1, Ret::UInt, |_, args| Ok(Val::UInt(!args[0].to_bits()))),
        strict("bit_count", 1..=1, Ret::Int, |_, args| Ok(Val::Int(i64::from(args[0].to_bits().count_ones())))),
        strict("mysql_bits", 1..=1, Ret::UInt, |_, args| Ok(Val::UInt(args[0].to_bits()))),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Subtract,
    Multiply,
    Divide,
    Div,
    Mod,
}

impl Op {
    fn sign(self) -> &'static str {
        match self {
            Op::Add => "+",
            Op::Subtract => "-",
            Op::Multiply => "*",
            Op::Divide => "/",
            Op::Div => "DIV",
            Op::Mod => "%",
        }
    }
}

/// What a value is to arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Number {
    Int { digits: u8, unsigned: bool },
    Dec { precision: u8, scale: u8 },
    Double,
}

/// Returns what values of a field are to arithmetic.
pub(super) fn number(field: &Field, constant: Option<&ScalarValue>) -> Number {
    let fraction = |digits: u8| match fsp_of(field, constant) {
        0 => Number::Int { digits, unsigned: false },
        fsp => Number::Dec { precision: digits + fsp, scale: fsp },
    };
    match field.data_type() {
        DataType::Null | DataType::Boolean => Number::Int { digits: 1, unsigned: false },
        DataType::Int8 => Number::Int { digits: 3, unsigned: false },
        DataType::Int16 => Number::Int { digits: 5, unsigned: false },
        DataType::Int32 => Number::Int { digits: 10, unsigned: false },
        DataType::Int64 => {
            let digits = match constant {
                Some(ScalarValue::Int64(Some(value))) => value.unsigned_abs().to_string().len() as u8,
                _ => 19,
            };
            Number::Int { digits, unsigned: false }
        }
        DataType::UInt8 => Number::Int { digits: 3, unsigned: true },
        DataType::UInt16 => Number::Int { digits: 5, unsigned: true },
        DataType::UInt32 => Number::Int { digits: 10, unsigned: true },
        DataType::UInt64 => Number::Int { digits: 20, unsigned: true },
        DataType::Decimal128(precision, scale) => Number::Dec { precision: *precision, scale: (*scale).max(0) as u8 },
        DataType::Date32 => Number::Int { digits: 8, unsigned: false },
        DataType::Timestamp(..) => fraction(14),
        DataType::Duration(_) => fraction(7),
        _ => Number::Double,
    }
}

fn result(op: Op, fields: &[FieldRef], constants: &[Option<&ScalarValue>]) -> Result<Field> {
    let constant = |index: usize| constants.get(index).copied().flatten();
    let left = number(&fields[0], constant(0));
    let right = number(&fields[1], constant(1));
    let unsigned = |number: Number| matches!(number, Number::Int { unsigned: true, .. });
    let int = || field(if unsigned(left) || unsigned(right) { DataType::UInt64 } else { DataType::Int64 });
    let exact = |number: Number| match number {
        Number::Int { digits, .. } => Some((digits, 0)),
        Number::Dec { precision, scale } => Some((precision, scale)),
        Number::Double => None,
    };
    if op == Op::Div {
        return Ok(int());
    }
    let (Some((p1, s1)), Some((p2, s2))) = (exact(left), exact(right)) else { return Ok(field(DataType::Float64)) };
    let ints = matches!((left, right), (Number::Int { .. }, Number::Int { .. }));
    Ok(match op {
        _ if ints && op != Op::Divide => match op {
            // A remainder takes the sign of what is divided.
            Op::Mod if !unsigned(left) => field(DataType::Int64),
            _ => int(),
        },
        Op::Add | Op::Subtract => {
            let scale = s1.max(s2);
            decimal_field((p1 - s1.min(p1)).max(p2 - s2.min(p2)) + 1 + scale, scale)
        }
        Op::Multiply => decimal_field((p1 + p2).min(38), (s1 + s2).min(30)),
        Op::Mod => decimal_field(p1.max(p2), s1.max(s2)),
        Op::Divide => decimal_field((p1 + s2 + 4).min(38), (s1 + 4).min(30)),
        Op::Div => unreachable!("handled above"),
    })
}

fn run(op: Op, args: &ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
    let constant = |index: usize| matches!(args.args[index], ColumnarValue::Scalar(_));
    let all_constant = constant(0) && constant(1);
    let rows = if all_constant { 1 } else { args.number_rows };
    let array = |index: usize| -> PlanResult<ArrayRef> {
        match &args.args[index] {
            ColumnarValue::Array(array) => Ok(Arc::clone(array)),
            ColumnarValue::Scalar(value) => value.to_array_of_size(1),
        }
    };
    let (left, right) = (array(0)?, array(1)?);
    let sides = Sides { left, right, left_constant: constant(0), right_constant: constant(1), rows };
    let returns = &args.return_field;
    let output = match fast(op, &sides, returns.data_type())? {
        Some(output) => output,
        None => {
            let left = Column::new(sides.left.as_ref(), &args.arg_fields[0], sides.left_constant)?;
            let right = Column::new(sides.right.as_ref(), &args.arg_fields[1], sides.right_constant)?;
            let settings = super::settings::of(&args.config_options);
            let values = (0..rows).map(|row| {
                let (left, right) = (left.get(row), right.get(row));
                settings.reads_number(&left, "DOUBLE");
                settings.reads_number(&right, "DOUBLE");
                let answer = apply(op, &left, &right, returns).map_err(external)?;
                if answer.is_null() && !left.is_null() && !right.is_null() {
                    settings.divided_by_zero().map_err(external)?;
                }
                Ok(answer)
            });
            build(returns.data_type(), rows, values)?
        }
    };
    if all_constant {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&output, 0)?));
    }
    Ok(ColumnarValue::Array(output))
}

struct Sides {
    left: ArrayRef,
    right: ArrayRef,
    left_constant: bool,
    right_constant: bool,
    rows: usize,
}

/// Whole arrays of the common kinds: signed integers, decimals, doubles.
fn fast(op: Op, sides: &Sides, returns: &DataType) -> PlanResult<Option<ArrayRef>> {
    if !matches!(op, Op::Add | Op::Subtract | Op::Multiply) {
        return Ok(None);
    }
    let (from_left, from_right) = (sides.left.data_type(), sides.right.data_type());
    let exact = |ty: &DataType| ty.is_integer() || matches!(ty, DataType::Decimal128(_, scale) if *scale >= 0);
    Ok(Some(match returns {
        DataType::Int64 if from_left.is_integer() && from_right.is_integer() => {
            let overflow = |l: i64, r: i64| range_error("BIGINT", op, &l.to_string(), &r.to_string());
            Arc::new(each::<Int64Type>(sides, &DataType::Int64, &DataType::Int64, |l, r| {
                match op {
                    Op::Add => l.checked_add(r),
                    Op::Subtract => l.checked_sub(r),
                    _ => l.checked_mul(r),
                }
                .ok_or_else(|| overflow(l, r))
            })?)
        }
        DataType::Float64 if from_left.is_numeric() && from_right.is_numeric() => {
            Arc::new(each::<Float64Type>(sides, &DataType::Float64, &DataType::Float64, |l, r| {
                let value = match op {
                    Op::Add => l + r,
                    Op::Subtract => l - r,
                    _ => l * r,
                };
                if value.is_finite() {
                    Ok(value)
                } else {
                    Err(range_error("DOUBLE", op, &l.to_string(), &r.to_string()))
                }
            })?)
        }
        DataType::Decimal128(precision, scale) if exact(from_left) && exact(from_right) => {
            let scale_of = |ty: &DataType| if let DataType::Decimal128(_, scale) = ty { *scale } else { 0 };
            let (s1, s2) = (scale_of(from_left), scale_of(from_right));
            if op == Op::Multiply && s1 + s2 != *scale {
                return Ok(None);
            }
            let (up1, up2) = if op == Op::Multiply {
                (1, 1)
            } else {
                (pow10((scale - s1).max(0) as u8), pow10((scale - s2).max(0) as u8))
            };
            let array =
                each::<Decimal128Type>(sides, &DataType::Decimal128(38, s1), &DataType::Decimal128(38, s2), |l, r| {
                    let value = match op {
                        Op::Multiply => l.checked_mul(r),
                        _ => l
                            .checked_mul(up1)
                            .zip(r.checked_mul(up2))
                            .and_then(|(l, r)| if op == Op::Add { l.checked_add(r) } else { l.checked_sub(r) }),
                    };
                    value.ok_or_else(|| {
                        let text = |units: i128, scale: i8| Decimal { units, scale: scale as u8 }.to_string();
                        range_error("DECIMAL", op, &text(l, s1), &text(r, s2))
                    })
                })?;
            Arc::new(array.with_precision_and_scale(*precision, *scale)?)
        }
        _ => return Ok(None),
    }))
}

fn each<T: ArrowPrimitiveType>(
    sides: &Sides,
    left_type: &DataType,
    right_type: &DataType,
    f: impl Fn(T::Native, T::Native) -> Result<T::Native, ArrowError>,
) -> PlanResult<PrimitiveArray<T>> {
    let left = cast(&sides.left, left_type)?;
    let right = cast(&sides.right, right_type)?;
    let (left, right) = (left.as_primitive::<T>(), right.as_primitive::<T>());
    if (sides.left_constant && left.is_null(0)) || (sides.right_constant && right.is_null(0)) {
        return Ok(PrimitiveArray::new_null(sides.rows));
    }
    Ok(match (sides.left_constant, sides.right_constant) {
        (false, true) => {
            let constant = right.value(0);
            try_unary(left, |value| f(value, constant))?
        }
        (true, false) => {
            let constant = left.value(0);
            try_unary(right, |value| f(constant, value))?
        }
        _ => try_binary(left, right, &f)?,
    })
}

fn range_error(kind: &str, op: Op, left: &str, right: &str) -> ArrowError {
    ArrowError::ExternalError(Box::new(overflow(kind, op, left, right)))
}

fn overflow(kind: &str, op: Op, left: &str, right: &str) -> Error {
    out_of_range(kind, &format!("({left} {} {right})", op.sign()))
}

fn apply(op: Op, left: &Val<'_>, right: &Val<'_>, returns: &Field) -> Result<Val<'static>> {
    if left.is_null() || right.is_null() {
        return Ok(Val::Null);
    }
    let failed = |kind: &str| {
        let text = |value: &Val<'_>| value.to_text().unwrap_or_default().into_owned();
        overflow(kind, op, &text(left), &text(right))
    };
    let ty = returns.data_type();
    match ty {
        DataType::Float64 => {
            let (l, r) = (left.to_f64(), right.to_f64());
            let value = match op {
                Op::Add => l + r,
                Op::Subtract => l - r,
                Op::Multiply => l * r,
                Op::Divide | Op::Mod | Op::Div if r == 0.0 => return Ok(Val::Null),
                Op::Divide => l / r,
                Op::Div => (l / r).trunc(),
                Op::Mod => l % r,
            };
            if value.is_finite() { Ok(Val::Float(value)) } else { Err(failed("DOUBLE")) }
        }
        DataType::Decimal128(_, scale) => {
            let (Some(l), Some(r)) = (left.to_decimal(), right.to_decimal()) else { return Err(failed("DECIMAL")) };
            let same = l.scale.max(r.scale);
            let both = || l.rescale(same).zip(r.rescale(same));
            let value = match op {
                Op::Divide if r.units == 0 => return Ok(Val::Null),
                Op::Divide => l.divide(r, *scale as u8),
                Op::Mod if r.units == 0 => return Ok(Val::Null),
                Op::Mod => both().map(|(l, r)| Decimal { units: l.units % r.units, scale: same }),
                Op::Multiply => l.units.checked_mul(r.units).map(|units| Decimal { units, scale: l.scale + r.scale }),
                _ => both().and_then(|(l, r)| {
                    let units = if op == Op::Add { l.units.checked_add(r.units) } else { l.units.checked_sub(r.units) };
                    Some(Decimal { units: units?, scale: same })
                }),
            };
            value.and_then(|value| value.rescale(*scale as u8)).map(Val::Dec).ok_or_else(|| failed("DECIMAL"))
        }
        _ => {
            let unsigned = *ty == DataType::UInt64;
            let kind = if unsigned { "BIGINT UNSIGNED" } else { "BIGINT" };
            let wide = if op == Op::Div { whole_division(left, right) } else { whole(op, left, right) };
            let value = match wide {
                Wide::Null => return Ok(Val::Null),
                Wide::Value(value) => value,
                Wide::Overflow => return Err(failed(kind)),
            };
            if unsigned {
                u64::try_from(value).map(Val::UInt).map_err(|_| failed(kind))
            } else {
                i64::try_from(value).map(Val::Int).map_err(|_| failed(kind))
            }
        }
    }
}

enum Wide {
    Null,
    Value(i128),
    Overflow,
}

fn whole(op: Op, left: &Val<'_>, right: &Val<'_>) -> Wide {
    let (l, r) = (left.to_i128(), right.to_i128());
    let value = match op {
        Op::Add => l.checked_add(r),
        Op::Subtract => l.checked_sub(r),
        Op::Multiply => l.checked_mul(r),
        _ if r == 0 => return Wide::Null,
        _ => Some(l % r),
    };
    value.map_or(Wide::Overflow, Wide::Value)
}

/// DIV cuts the exact quotient, also of decimals and texts.
fn whole_division(left: &Val<'_>, right: &Val<'_>) -> Wide {
    let (Some(l), Some(r)) = (left.to_decimal(), right.to_decimal()) else {
        let (l, r) = (left.to_f64(), right.to_f64());
        return if r == 0.0 { Wide::Null } else { Wide::Value((l / r).trunc() as i128) };
    };
    if r.units == 0 {
        return Wide::Null;
    }
    let scale = l.scale.max(r.scale);
    match l.rescale(scale).zip(r.rescale(scale)) {
        Some((l, r)) => Wide::Value(l.units / r.units),
        None => Wide::Overflow,
    }
}

fn summand(fields: &[FieldRef], constants: &[Option<&ScalarValue>]) -> Field {
    if fields[0].data_type().is_numeric() || *fields[0].data_type() == DataType::Null {
        return field(fields[0].data_type().clone());
    }
    negated(fields, constants).unwrap_or_else(|_| field(DataType::Float64))
}

fn negated(fields: &[FieldRef], constants: &[Option<&ScalarValue>]) -> Result<Field> {
    Ok(match number(&fields[0], constants.first().copied().flatten()) {
        Number::Int { .. } => field(DataType::Int64),
        Number::Dec { precision, scale } => decimal_field(precision, scale),
        Number::Double => field(DataType::Float64),
    })
}

fn negate(returns: &Field, value: &Val<'_>) -> Result<Val<'static>> {
    let failed = |kind: &str| out_of_range(kind, &format!("-({})", value.to_text().unwrap_or_default()));
    Ok(match returns.data_type() {
        DataType::Float64 => Val::Float(finite(0.0 - value.to_f64(), || "-".to_owned())?),
        DataType::Decimal128(..) => {
            let decimal = value.to_decimal().ok_or_else(|| failed("DECIMAL"))?;
            Val::Dec(Decimal { units: -decimal.units, scale: decimal.scale })
        }
        _ => Val::Int(i64::try_from(-value.to_i128()).map_err(|_| failed("BIGINT"))?),
    })
}

/// Returns the field of AVG over a sum of this field: four more digits after the point.
fn average(sum: &Field) -> Field {
    match sum.data_type() {
        DataType::Decimal128(precision, scale) => {
            let digits = precision.saturating_sub(super::aggregates::SUM_DIGITS) + 4;
            decimal_field(digits.max(*scale as u8 + 5), (*scale as u8 + 4).min(30))
        }
        _ => field(DataType::Float64),
    }
}
