use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, StringArray};
use arrow::datatypes::Field;
use sqlparser::ast::Statement;
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;

use super::*;
use crate::functions::column::Column;

fn target<'a>(ty: &'a MySqlType, mode: Mode) -> Target<'a> {
    Target { ty, column: "c", nullable: true, mode }
}

fn shown(ty: &MySqlType, array: &ArrayRef) -> String {
    let field = ty.field("c", true);
    let column = Column::new(array.as_ref(), &field, false).unwrap();
    let cells: Vec<String> =
        (0..array.len()).map(|row| column.get(row).to_text().map_or("NULL".into(), |text| text.into_owned())).collect();
    cells.join("|")
}

/// What a text becomes in a column, or the error.
fn store(declared: &str, text: &str, mode: Mode) -> String {
    let ty = MySqlType::parse(declared).unwrap();
    match coerce_text([Some(text)].into_iter(), target(&ty, mode), 1) {
        Ok(done) => {
            let warned = if !done.warnings.is_empty() { " (warned)" } else { "" };
            format!("{}{warned}", shown(&ty, &done.array))
        }
        Err(error) => format!("{} {}", error.code, error.message),
    }
}

#[test]
fn declared_types_read_back_the_same() {
    for (written, declared) in [
        ("INT", "int"),
        ("INTEGER(11)", "int"),
        ("INT UNSIGNED", "int unsigned"),
        ("TINYINT(1)", "tinyint(1)"),
        ("BOOL", "tinyint(1)"),
        ("TINYINT UNSIGNED", "tinyint unsigned"),
        ("MEDIUMINT", "mediumint"),
        ("BIGINT UNSIGNED", "bigint unsigned"),
        ("DECIMAL", "decimal(10,0)"),
        ("DECIMAL(12,3)", "decimal(12,3)"),
        ("NUMERIC(5)", "decimal(5,0)"),
        ("FLOAT", "float"),
        ("DOUBLE PRECISION", "double"),
        ("CHAR", "char(1)"),
        ("VARCHAR(20)", "varchar(20)"),
        ("TINYTEXT", "tinytext"),
        ("LONGTEXT", "longtext"),
        ("VARBINARY(16)", "varbinary(16)"),
        ("BINARY(3)", "binary(3)"),
        ("BLOB", "blob"),
        ("DATE", "date"),
        ("TIME(3)", "time(3)"),
        ("DATETIME", "datetime"),
        ("DATETIME(6)", "datetime(6)"),
        ("TIMESTAMP", "timestamp"),
        ("YEAR", "year"),
        ("JSON", "json"),
        ("ENUM('a','it''s')", "enum('a','it''s')"),
        ("SET('x','y')", "set('x','y')"),
        ("BIT(8)", "bit(8)"),
    ] {
        let sql = format!("CREATE TABLE t (c {written})");
        let Statement::CreateTable(create) = Parser::parse_sql(&MySqlDialect {}, &sql).unwrap().remove(0) else {
            panic!("{sql} is no CREATE TABLE");
        };
        let ty = MySqlType::from_ast(&create.columns[0].data_type).unwrap();
        assert_eq!(ty.to_string(), declared, "{written}");
        assert_eq!(MySqlType::parse(declared).unwrap(), ty, "{declared}");
        let field = ty.field("c", true);
        assert_eq!(super::declared(&field), Some(ty.clone()));
        assert_eq!(column_meta(&field).0, ty.kind());
    }
}

#[test]
fn too_large_types_are_refused() {
    let code = |text: &str| MySqlType::parse(text).unwrap_err().code;
    assert_eq!(code("decimal(39,0)"), 1235);
    assert_eq!(code("decimal(5,6)"), 1427);
    assert_eq!(code("decimal(38,31)"), 1425);
    assert_eq!(code("datetime(7)"), 1426);
    assert_eq!(code("varchar(70000)"), 1074);
    assert_eq!(code("geometry"), 1235);
}

#[test]
fn values_are_stored_as_strict_mode_stores_them() {
    for (declared, text, expected) in [
        ("int", "42", "42"),
        ("int", " 42 ", "42"),
        ("int", "1.5", "2"),
        ("int", "-1.5", "-2"),
        ("int", "1e3", "1000"),
        ("int", "2147483648", "1264 Out of range value for column 'c' at row 1"),
        ("int unsigned", "-1", "1264 Out of range value for column 'c' at row 1"),
        ("int", "abc", "1366 Incorrect integer value: 'abc' for column 'c' at row 1"),
        ("int", "", "1366 Incorrect integer value: '' for column 'c' at row 1"),
        ("int", "12abc", "1265 Data truncated for column 'c' at row 1"),
        ("tinyint", "128", "1264 Out of range value for column 'c' at row 1"),
        ("mediumint", "8388608", "1264 Out of range value for column 'c' at row 1"),
        ("bigint unsigned", "18446744073709551615", "18446744073709551615"),
        ("decimal(5,2)", "1.005", "1.01"),
        ("decimal(5,2)", "-1.005", "-1.01"),
        ("decimal(5,2)", "1000", "1264 Out of range value for column 'c' at row 1"),
        ("decimal(5,2)", "x", "1366 Incorrect decimal value: 'x' for column 'c' at row 1"),
        ("double", "1.5e3", "1500"),
        ("double", "x", "1366 Incorrect double value: 'x' for column 'c' at row 1"),
        ("varchar(3)", "abc", "abc"),
        ("varchar(3)", "äöü", "äöü"),
        ("varchar(3)", "abcd", "1406 Data too long for column 'c' at row 1"),
        ("varchar(3)", "abc  ", "abc"),
        ("char(5)", "ab  ", "ab"),
        ("date", "2024-01-31", "2024-01-31"),
        ("date", "2024/1/5", "2024-01-05"),
        ("date", "20240131", "2024-01-31"),
        ("date", "2024-02-30", "1292 Incorrect date value: '2024-02-30' for column 'c' at row 1"),
        ("datetime", "2024-01-31 10:20:30.5", "2024-01-31 10:20:31"),
        ("datetime(3)", "2024-01-31T10:20:30.1236", "2024-01-31 10:20:30.124"),
        ("datetime", "x", "1292 Incorrect datetime value: 'x' for column 'c' at row 1"),
        (
            "datetime",
            "0000-00-00 00:00:00",
            "1292 Incorrect datetime value: '0000-00-00 00:00:00' for column 'c' at row 1",
        ),
        ("timestamp", "2039-01-01", "1292 Incorrect datetime value: '2039-01-01' for column 'c' at row 1"),
        ("time", "10:20", "10:20:00"),
        ("time", "-838:59:59", "-838:59:59"),
        ("time", "900:00:00", "1292 Incorrect time value: '900:00:00' for column 'c' at row 1"),
        ("year", "24", "2024"),
        ("year", "1999", "1999"),
        ("year", "1800", "1264 Out of range value for column 'c' at row 1"),
        ("enum('Red','green')", "red", "Red"),
        ("enum('Red','green')", "2", "green"),
        ("enum('Red','green')", "blue", "1265 Data truncated for column 'c' at row 1"),
        ("set('a','b','c')", "c,A", "a,c"),
        ("set('a','b')", "x", "1265 Data truncated for column 'c' at row 1"),
        ("json", "{\"b\":1,\"a\":[1,2]}", "{\"a\": [1, 2], \"b\": 1}"),
        ("bit(4)", "15", "15"),
        ("bit(4)", "16", "1264 Out of range value for column 'c' at row 1"),
    ] {
        assert_eq!(store(declared, text, Mode::Strict), expected, "{declared} {text:?}");
    }
    assert!(store("json", "{", Mode::Strict).starts_with("3140 Invalid JSON text"));
}

#[test]
fn values_are_bent_in_ignoring_mode() {
    for (declared, text, expected) in [
        ("int", "2147483648", "2147483647 (warned)"),
        ("int unsigned", "-1", "0 (warned)"),
        ("int", "12abc", "12 (warned)"),
        ("int", "abc", "0 (warned)"),
        ("varchar(3)", "abcd", "abc (warned)"),
        ("decimal(5,2)", "1000", "999.99 (warned)"),
        ("enum('a','b')", "x", " (warned)"),
        ("date", "garbage", "NULL (warned)"),
        ("time", "900:00:00", "838:59:59 (warned)"),
    ] {
        assert_eq!(store(declared, text, Mode::Ignore), expected, "{declared} {text:?}");
    }
}

#[test]
fn whole_arrays_name_the_row_that_does_not_fit() {
    let ty = MySqlType::parse("tinyint").unwrap();
    let array: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(300)]));
    let field = Field::new("v", array.data_type().clone(), true);
    let error = coerce_array(&array, &field, target(&ty, Mode::Strict), 11).unwrap_err();
    assert_eq!(error.message, "Out of range value for column 'c' at row 13");

    let fits: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(-128)]));
    let done = coerce_array(&fits, &field, target(&ty, Mode::Strict), 1).unwrap();
    assert_eq!(shown(&ty, &done.array), "1|NULL|-128");

    let required = Target { nullable: false, ..target(&ty, Mode::Strict) };
    let error = coerce_array(&fits, &field, required, 1).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (1048, "Column 'c' cannot be null"));
}

#[test]
fn texts_become_dates_as_whole_arrays() {
    let ty = MySqlType::parse("date").unwrap();
    let array: ArrayRef = Arc::new(StringArray::from(vec!["2024-01-31", "1999-12-31 23:59:59"]));
    let field = Field::new("v", array.data_type().clone(), true);
    let done = coerce_array(&array, &field, target(&ty, Mode::Strict), 1).unwrap();
    assert_eq!(shown(&ty, &done.array), "2024-01-31|1999-12-31");
}

#[test]
fn parameters_and_literals_are_stored() {
    use crate::api::Value;
    use sqlparser::ast::Value as Literal;
    let ty = MySqlType::parse("datetime").unwrap();
    let done = coerce_given([Given::Value(&Value::Int(20_240_131))].into_iter(), target(&ty, Mode::Strict), 1).unwrap();
    assert_eq!(shown(&ty, &done.array), "2024-01-31 00:00:00");
    let ty = MySqlType::parse("varbinary(4)").unwrap();
    let hex = Literal::HexStringLiteral("41ff".into());
    let done = coerce_given([Given::Literal(&hex, false)].into_iter(), target(&ty, Mode::Strict), 1).unwrap();
    assert_eq!(done.array.as_any().downcast_ref::<arrow::array::BinaryArray>().unwrap().value(0), [0x41, 0xff]);
    let ty = MySqlType::parse("bigint").unwrap();
    let number = Literal::Number("9223372036854775808".into(), false);
    let done = coerce_given([Given::Literal(&number, true)].into_iter(), target(&ty, Mode::Strict), 1).unwrap();
    assert_eq!(shown(&ty, &done.array), "-9223372036854775808");
}
