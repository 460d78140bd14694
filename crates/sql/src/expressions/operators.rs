//! Binary operators by the types of their sides.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result as PlanResult, ScalarValue};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, lit};
use sqlparser::ast::BinaryOperator as Sql;

use crate::error::Error;
use crate::functions::value::Decimal;
use crate::functions::{calendar, call, external};
use crate::types::{self, MySqlType, is_json};

/// Plans MySQL's operators.
#[derive(Debug)]
pub struct OperatorPlanner;

impl ExprPlanner for OperatorPlanner {
    fn plan_binary_op(&self, expr: RawBinaryExpr, _schema: &DFSchema) -> PlanResult<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = expr;
        let function = match &op {
            Sql::Plus => "mysql_add",
            Sql::Minus => "mysql_subtract",
            Sql::Multiply => "mysql_multiply",
            Sql::Divide => "mysql_divide",
            Sql::MyIntegerDivide => "mysql_div",
            Sql::Modulo => "mod",
            Sql::BitwiseAnd => "mysql_bit_and",
            Sql::BitwiseOr => "mysql_bit_or",
            Sql::BitwiseXor => "mysql_bit_xor",
            Sql::PGBitwiseShiftLeft => "mysql_shift_left",
            Sql::PGBitwiseShiftRight => "mysql_shift_right",
            Sql::Xor => "mysql_xor",
            _ => "",
        };
        if !function.is_empty() {
            return Ok(PlannerResult::Planned(call(function, vec![left, right])));
        }
        // Which side is converted to what is decided once the whole plan has its types.
        let function = match &op {
            Sql::Eq => "mysql_eq",
            Sql::NotEq => "mysql_not_eq",
            Sql::Lt => "mysql_lt",
            Sql::LtEq => "mysql_lt_eq",
            Sql::Gt => "mysql_gt",
            Sql::GtEq => "mysql_gt_eq",
            Sql::Spaceship => "mysql_same",
            Sql::And | Sql::PGOverlap => return Ok(PlannerResult::Planned(predicate(left).and(predicate(right)))),
            Sql::Or | Sql::StringConcat => return Ok(PlannerResult::Planned(predicate(left).or(predicate(right)))),
            _ => return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right })),
        };
        Ok(PlannerResult::Planned(call(function, vec![left, right])))
    }
}

/// Returns the operator that a function of this name stands for until the plan has its types.
pub(super) fn comparison(function: &str) -> Option<Operator> {
    Some(match function {
        "mysql_eq" => Operator::Eq,
        "mysql_not_eq" => Operator::NotEq,
        "mysql_lt" => Operator::Lt,
        "mysql_lt_eq" => Operator::LtEq,
        "mysql_gt" => Operator::Gt,
        "mysql_gt_eq" => Operator::GtEq,
        "mysql_same" => Operator::IsNotDistinctFrom,
        _ => return None,
    })
}

/// Makes a predicate of an expression that is not one by its form.
fn predicate(expr: Expr) -> Expr {
    let is_one = match &expr {
        Expr::BinaryExpr(binary) => matches!(binary.op, Operator::And | Operator::Or),
        Expr::ScalarFunction(function) => {
            let name = function.func.name();
            comparison(name).is_some() || matches!(name, "mysql_truth" | "mysql_xor")
        }
        Expr::Not(_) | Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::InList(_) | Expr::InSubquery(_) => true,
        Expr::Exists(_) | Expr::Between(_) | Expr::Like(_) | Expr::SetComparison(_) => true,
        _ => false,
    };
    if is_one { expr } else { call("mysql_truth", vec![expr]) }
}

/// What a value is to a comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Bool,
    Number,
    Text,
    Json,
    Bytes,
    Date,
    DateTime,
    Time,
    /// NULL, a parameter without a type, or a type that MySQL does not have.
    Unknown,
}

fn kind(expr: &Expr, schema: &DFSchema) -> Kind {
    let Ok((_, field)) = expr.to_field(schema) else { return Kind::Unknown };
    match field.data_type() {
        DataType::Boolean => Kind::Bool,
        ty if ty.is_numeric() => Kind::Number,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View if is_json(&field) => Kind::Json,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Kind::Bytes,
        DataType::Date32 => Kind::Date,
        DataType::Timestamp(..) => Kind::DateTime,
        DataType::Duration(_) => Kind::Time,
        _ => Kind::Unknown,
    }
}

/// Returns the expression as a predicate, in its native form where scans can prune with it.
pub(super) fn truth(expr: Expr, schema: &DFSchema) -> Expr {
    let expr = numeric(expr, schema);
    match expr.get_type(schema) {
        Ok(DataType::Boolean) => expr,
        Ok(ty) if ty.is_integer() => match ScalarValue::new_zero(&ty) {
            Ok(zero) => expr.not_eq(lit(zero)),
            Err(_) => call("mysql_truth", vec![expr]),
        },
        _ => call("mysql_truth", vec![expr]),
    }
}

/// Returns what an expression is as a number where its text would say something else: a hexadecimal literal, a member
/// of an ENUM or a SET.
pub(super) fn numeric(expr: Expr, schema: &DFSchema) -> Expr {
    if let Some(number) = hex_number(&expr) {
        return number;
    }
    let Ok((_, field)) = expr.to_field(schema) else { return expr };
    match types::declared(&field) {
        Some(ty @ (MySqlType::Enum(_) | MySqlType::Set(_))) if *field.data_type() == DataType::Utf8 => {
            call("mysql_member", vec![expr, lit(ty.to_string())])
        }
        _ => expr,
    }
}

/// A hexadecimal literal is the number of its last eight bytes.
fn hex_number(expr: &Expr) -> Option<Expr> {
    let Expr::ScalarFunction(function) = expr else { return None };
    let ("mysql_hex", [Expr::Literal(ScalarValue::Binary(Some(bytes)), _)]) =
        (function.func.name(), function.args.as_slice())
    else {
        return None;
    };
    let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    Some(match i64::try_from(number) {
        Ok(number) => lit(number),
        Err(_) => lit(number),
    })
}

/// Converts two sides so that comparing them natively means what MySQL means. Sides that agree come back unchanged;
/// constants are converted here, so that a column stays bare and can be pruned on. Each side comes with the schema
/// that its columns are of.
pub(super) fn harmonise(left: (Expr, &DFSchema), right: (Expr, &DFSchema)) -> PlanResult<(Expr, Expr)> {
    let (mut l, mut r) = (kind(&left.0, left.1), kind(&right.0, right.1));
    let (left_schema, right_schema) = (left.1, right.1);
    let (mut left, mut right) = (left.0, right.0);
    if l == r || l == Kind::Unknown || r == Kind::Unknown {
        return Ok((left, right));
    }
    if matches!(l, Kind::Number | Kind::Bool) {
        right = numeric(right, right_schema);
        r = kind(&right, right_schema);
    }
    if matches!(r, Kind::Number | Kind::Bool) {
        left = numeric(left, left_schema);
        l = kind(&left, left_schema);
    }
    if l == r {
        return Ok((left, right));
    }
    // Each rule is written once, with the sides in one order.
    if rank(l) > rank(r) {
        let (right, left) = convert(right, r, left, l)?;
        return Ok((left, right));
    }
    convert(left, l, right, r)
}

fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Date => 0,
        Kind::DateTime => 1,
        Kind::Time => 2,
        Kind::Number => 3,
        Kind::Bool => 4,
        Kind::Json => 5,
        Kind::Text => 6,
        Kind::Bytes => 7,
        Kind::Unknown => 8,
    }
}

fn convert(left: Expr, l: Kind, right: Expr, r: Kind) -> PlanResult<(Expr, Expr)> {
    let number = |expr: Expr| call("mysql_number", vec![expr]);
    Ok(match (l, r) {
        (Kind::Date, Kind::DateTime) => (left, right),
        (Kind::Date | Kind::DateTime, Kind::Time) => {
            (call("mysql_datetime", vec![left]), call("mysql_datetime", vec![right]))
        }
        (Kind::Date | Kind::DateTime, Kind::Text | Kind::Bytes | Kind::Json) => match literal_text(&right) {
            Some(text) => {
                let Some(parsed) = calendar::parse_datetime(&text) else {
                    let name = if l == Kind::Date { "DATE" } else { "DATETIME" };
                    return Err(external(Error::new(1525, "HY000", format!("Incorrect {name} value: '{text}'"))));
                };
                (left, temporal_literal(l, parsed.micros))
            }
            None => (left, call("mysql_datetime", vec![right])),
        },
        (Kind::Date | Kind::DateTime, Kind::Number) => {
            let parsed = literal_int(&right).and_then(|number| calendar::datetime_from_number(number, 0));
            match parsed {
                Some(parsed) => (left, temporal_literal(l, parsed.micros)),
                None => (number(left), number(right)),
            }
        }
        (Kind::Time, Kind::Text | Kind::Bytes | Kind::Json) => match literal_text(&right) {
            Some(text) => match calendar::parse_time(&text) {
                Some(parsed) => (left, lit(ScalarValue::DurationMicrosecond(Some(parsed.micros)))),
                None => return Err(external(Error::new(1525, "HY000", format!("Incorrect TIME value: '{text}'")))),
            },
            None => (left, call("mysql_time", vec![right])),
        },
        (Kind::Time, Kind::Number) => (number(left), number(right)),
        (Kind::Number, Kind::Bool) => (left, as_int(right)),
        (Kind::Number, Kind::Text) => match literal_text(&right).map(|text| literal_number(&text)) {
            Some(constant) => (left, constant),
            None => (left, number(right)),
        },
        (Kind::Number, Kind::Json | Kind::Bytes) => (left, number(right)),
        (Kind::Bool, _) => (number(as_int(left)), number(right)),
        (Kind::Json, Kind::Text) => (call("json_unquote", vec![left]), right),
        (Kind::Json, Kind::Bytes) => (left, right),
        _ if rank(l) <= 2 => (number(left), number(right)),
        _ => (left, right),
    })
}

/// A truth value among numbers is 0 or 1.
fn as_int(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(ScalarValue::Boolean(Some(value)), _) => lit(i64::from(value)),
        other => call("cast_signed", vec![other]),
    }
}

fn temporal_literal(kind: Kind, micros: i64) -> Expr {
    if kind == Kind::Date && micros % calendar::DAY == 0 {
        lit(ScalarValue::Date32(Some((micros / calendar::DAY) as i32)))
    } else {
        lit(ScalarValue::TimestampMicrosecond(Some(micros), None))
    }
}

/// A text becomes the exact number where it is one, so that an integer column is compared as it is.
fn literal_number(text: &str) -> Expr {
    let trimmed = text.trim();
    if let Ok(number) = trimmed.parse::<i64>() {
        return lit(number);
    }
    if let Ok(number) = trimmed.parse::<u64>() {
        return lit(number);
    }
    match Decimal::parse(trimmed) {
        Some(decimal) if decimal.units.abs() < 10_i128.pow(15) && decimal.scale <= 15 => {
            lit(ScalarValue::Decimal128(Some(decimal.units), 16.max(decimal.scale + 1), decimal.scale as i8))
        }
        // With a warning if it is not a number throughout.
        _ => call("mysql_number", vec![lit(text)]),
    }
}

fn literal_text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
        _ => None,
    }
}

fn literal_int(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::Int64(value), _) => *value,
        _ => None,
    }
}
