//! Tables of things that Strandline has not got: they are there, so that tools may ask, and rightly empty.

use super::VirtualTable;
use crate::show::answer::CellKind::{self, Long, Text, Time, UInt};

const DB: &str = "information_schema";

const fn empty(name: &'static str, columns: &'static [(&'static str, CellKind)]) -> VirtualTable {
    VirtualTable { database: DB, name, columns, rows: |_| Vec::new() }
}

const fn empty_in(database: &'static str, name: &'static str, columns: &'static [(&'static str, CellKind)]) -> VirtualTable {
    VirtualTable { database, name, columns, rows: |_| Vec::new() }
}

pub(super) const TABLES: &[VirtualTable] = &[
    empty("ROUTINES", &[
        ("SPECIFIC_NAME", Text), ("ROUTINE_CATALOG", Text), ("ROUTINE_SCHEMA", Text), ("ROUTINE_NAME", Text),
        ("ROUTINE_TYPE", Text), ("DATA_TYPE", Long), ("CHARACTER_MAXIMUM_LENGTH", UInt), ("CHARACTER_OCTET_LENGTH", UInt),
        ("NUMERIC_PRECISION", UInt), ("NUMERIC_SCALE", UInt), ("DATETIME_PRECISION", UInt), ("CHARACTER_SET_NAME", Text),
        ("COLLATION_NAME", Text), ("DTD_IDENTIFIER", Long), ("ROUTINE_BODY", Text), ("ROUTINE_DEFINITION", Long),
        ("EXTERNAL_NAME", Text), ("EXTERNAL_LANGUAGE", Text), ("PARAMETER_STYLE", Text), ("IS_DETERMINISTIC", Text),
        ("SQL_DATA_ACCESS", Text), ("SQL_PATH", Text), ("SECURITY_TYPE", Text), ("CREATED", Time), ("LAST_ALTERED", Time),
        ("SQL_MODE", Text), ("ROUTINE_COMMENT", Long), ("DEFINER", Text), ("CHARACTER_SET_CLIENT", Text),
        ("COLLATION_CONNECTION", Text), ("DATABASE_COLLATION", Text),
    ]),
    empty("PARAMETERS", &[
        ("SPECIFIC_CATALOG", Text), ("SPECIFIC_SCHEMA", Text), ("SPECIFIC_NAME", Text), ("ORDINAL_POSITION", UInt),
        ("PARAMETER_MODE", Text), ("PARAMETER_NAME", Text), ("DATA_TYPE", Long), ("CHARACTER_MAXIMUM_LENGTH", UInt),
        ("CHARACTER_OCTET_LENGTH", UInt), ("NUMERIC_PRECISION", UInt), ("NUMERIC_SCALE", UInt), ("DATETIME_PRECISION", UInt),
        ("CHARACTER_SET_NAME", Text), ("COLLATION_NAME", Text), ("DTD_IDENTIFIER", Long), ("ROUTINE_TYPE", Text),
    ]),
    empty("TRIGGERS", &[
        ("TRIGGER_CATALOG", Text), ("TRIGGER_SCHEMA", Text), ("TRIGGER_NAME", Text), ("EVENT_MANIPULATION", Text),
        ("EVENT_OBJECT_CATALOG", Text), ("EVENT_OBJECT_SCHEMA", Text), ("EVENT_OBJECT_TABLE", Text), ("ACTION_ORDER", UInt),
        ("ACTION_CONDITION", Long), ("ACTION_STATEMENT", Long), ("ACTION_ORIENTATION", Text), ("ACTION_TIMING", Text),
        ("ACTION_REFERENCE_OLD_TABLE", Text), ("ACTION_REFERENCE_NEW_TABLE", Text), ("ACTION_REFERENCE_OLD_ROW", Text),
        ("ACTION_REFERENCE_NEW_ROW", Text), ("CREATED", Time), ("SQL_MODE", Text), ("DEFINER", Text),
        ("CHARACTER_SET_CLIENT", Text), ("COLLATION_CONNECTION", Text), ("DATABASE_COLLATION", Text),
    ]),
    empty("EVENTS", &[
        ("EVENT_CATALOG", Text), ("EVENT_SCHEMA", Text), ("EVENT_NAME", Text), ("DEFINER", Text), ("TIME_ZONE", Text),
        ("EVENT_BODY", Text), ("EVENT_DEFINITION", Long), ("EVENT_TYPE", Text), ("EXECUTE_AT", Time), ("INTERVAL_VALUE", Text),
        ("INTERVAL_FIELD", Text), ("SQL_MODE", Text), ("STARTS", Time), ("ENDS", Time), ("STATUS", Text),
        ("ON_COMPLETION", Text), ("CREATED", Time), ("LAST_ALTERED", Time), ("LAST_EXECUTED", Time), ("EVENT_COMMENT", Text),
        ("ORIGINATOR", UInt), ("CHARACTER_SET_CLIENT", Text), ("COLLATION_CONNECTION", Text), ("DATABASE_COLLATION", Text),
    ]),
    empty("PARTITIONS", &[
        ("TABLE_CATALOG", Text), ("TABLE_SCHEMA", Text), ("TABLE_NAME", Text), ("PARTITION_NAME", Text),
        ("SUBPARTITION_NAME", Text), ("PARTITION_ORDINAL_POSITION", UInt), ("SUBPARTITION_ORDINAL_POSITION", UInt),
        ("PARTITION_METHOD", Text), ("SUBPARTITION_METHOD", Text), ("PARTITION_EXPRESSION", Text),
        ("SUBPARTITION_EXPRESSION", Text), ("PARTITION_DESCRIPTION", Text), ("TABLE_ROWS", UInt), ("AVG_ROW_LENGTH", UInt),
        ("DATA_LENGTH", UInt), ("MAX_DATA_LENGTH", UInt), ("INDEX_LENGTH", UInt), ("DATA_FREE", UInt), ("CREATE_TIME", Time),
        ("UPDATE_TIME", Time), ("CHECK_TIME", Time), ("CHECKSUM", UInt), ("PARTITION_COMMENT", Text), ("NODEGROUP", Text),
        ("TABLESPACE_NAME", Text),
    ]),
    empty("FILES", &[
        ("FILE_ID", UInt), ("FILE_NAME", Text), ("FILE_TYPE", Text), ("TABLESPACE_NAME", Text), ("TABLE_CATALOG", Text),
        ("TABLE_SCHEMA", Text), ("TABLE_NAME", Text), ("LOGFILE_GROUP_NAME", Text), ("LOGFILE_GROUP_NUMBER", UInt),
        ("ENGINE", Text), ("FULLTEXT_KEYS", Text), ("DELETED_ROWS", UInt), ("UPDATE_COUNT", UInt), ("FREE_EXTENTS", UInt),
        ("TOTAL_EXTENTS", UInt), ("EXTENT_SIZE", UInt), ("INITIAL_SIZE", UInt), ("MAXIMUM_SIZE", UInt),
        ("AUTOEXTEND_SIZE", UInt), ("CREATION_TIME", Time), ("LAST_UPDATE_TIME", Time), ("LAST_ACCESS_TIME", Time),
        ("RECOVER_TIME", UInt), ("TRANSACTION_COUNTER", UInt), ("VERSION", UInt), ("ROW_FORMAT", Text), ("TABLE_ROWS", UInt),
        ("AVG_ROW_LENGTH", UInt), ("DATA_LENGTH", UInt), ("MAX_DATA_LENGTH", UInt), ("INDEX_LENGTH", UInt),
        ("DATA_FREE", UInt), ("CREATE_TIME", Time), ("UPDATE_TIME", Time), ("CHECK_TIME", Time), ("CHECKSUM", UInt),
        ("STATUS", Text), ("EXTRA", Text),
    ]),
    empty("SCHEMA_PRIVILEGES", &[
        ("GRANTEE", Text), ("TABLE_CATALOG", Text), ("TABLE_SCHEMA", Text), ("PRIVILEGE_TYPE", Text), ("IS_GRANTABLE", Text),
    ]),
    empty("TABLE_PRIVILEGES", &[
        ("GRANTEE", Text), ("TABLE_CATALOG", Text), ("TABLE_SCHEMA", Text), ("TABLE_NAME", Text), ("PRIVILEGE_TYPE", Text),
        ("IS_GRANTABLE", Text),
    ]),
    empty("COLUMN_PRIVILEGES", &[
        ("GRANTEE", Text), ("TABLE_CATALOG", Text), ("TABLE_SCHEMA", Text), ("TABLE_NAME", Text), ("COLUMN_NAME", Text),
        ("PRIVILEGE_TYPE", Text), ("IS_GRANTABLE", Text),
    ]),
    empty("COLUMN_STATISTICS", &[("SCHEMA_NAME", Text), ("TABLE_NAME", Text), ("COLUMN_NAME", Text), ("HISTOGRAM", Long)]),
    empty("VIEW_TABLE_USAGE", &[
        ("VIEW_CATALOG", Text), ("VIEW_SCHEMA", Text), ("VIEW_NAME", Text), ("TABLE_CATALOG", Text), ("TABLE_SCHEMA", Text),
        ("TABLE_NAME", Text),
    ]),
    empty_in("mysql", "proc", &[
        ("db", Text), ("name", Text), ("type", Text), ("specific_name", Text), ("language", Text), ("param_list", Long),
        ("returns", Long), ("body", Long), ("definer", Text), ("created", Time), ("modified", Time), ("comment", Text),
    ]),
    empty_in("mysql", "event", &[("db", Text), ("name", Text), ("body", Long), ("definer", Text)]),
    empty_in("mysql", "db", &[("Host", Text), ("Db", Text), ("User", Text)]),
    empty_in("mysql", "tables_priv", &[("Host", Text), ("Db", Text), ("User", Text), ("Table_name", Text)]),
    empty_in("mysql", "help_topic", &[("help_topic_id", UInt), ("name", Text)]),
];
