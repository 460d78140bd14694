//! What is so of the server and not of a catalog: engines, character sets, connections, variables, users.

use strandline_core::grants::Privileges;

use super::VirtualTable;
use crate::access::show as access;
use crate::show::answer::CellKind::{Long, Text, UInt};
use crate::show::answer::{Cell, CellKind, row};
use crate::show::{CHARSETS, COLLATIONS, ShowContext, process_row};
use crate::users;

const DB: &str = "information_schema";
const PERFORMANCE: &str = "performance_schema";
const NAME_VALUE: &[(&str, CellKind)] = &[("VARIABLE_NAME", Text), ("VARIABLE_VALUE", Long)];
const PROCESSES: &[(&str, CellKind)] = &[
    ("ID", UInt),
    ("USER", Text),
    ("HOST", Text),
    ("DB", Text),
    ("COMMAND", Text),
    ("TIME", UInt),
    ("STATE", Text),
    ("INFO", Long),
];

pub(super) const TABLES: &[VirtualTable] = &[
    VirtualTable {
        database: DB,
        name: "ENGINES",
        columns: &[
            ("ENGINE", Text),
            ("SUPPORT", Text),
            ("COMMENT", Text),
            ("TRANSACTIONS", Text),
            ("XA", Text),
            ("SAVEPOINTS", Text),
        ],
        rows: |_| vec![row!["InnoDB", "DEFAULT", "Strandline", "YES", "NO", "YES"]],
    },
    VirtualTable {
        database: DB,
        name: "CHARACTER_SETS",
        columns: &[
            ("CHARACTER_SET_NAME", Text),
            ("DEFAULT_COLLATE_NAME", Text),
            ("DESCRIPTION", Text),
            ("MAXLEN", UInt),
        ],
        rows: |_| CHARSETS.iter().map(|c| row![c.name, c.collation, c.description, c.max_bytes]).collect(),
    },
    VirtualTable {
        database: DB,
        name: "COLLATIONS",
        columns: &[
            ("COLLATION_NAME", Text),
            ("CHARACTER_SET_NAME", Text),
            ("ID", UInt),
            ("IS_DEFAULT", Text),
            ("IS_COMPILED", Text),
            ("SORTLEN", UInt),
            ("PAD_ATTRIBUTE", Text),
        ],
        rows: |_| {
            let collations = COLLATIONS.iter();
            collations
                .map(|c| row![c.name, c.charset, c.id, if c.default { "Yes" } else { "" }, "Yes", 1u64, c.padding])
                .collect()
        },
    },
    VirtualTable {
        database: DB,
        name: "COLLATION_CHARACTER_SET_APPLICABILITY",
        columns: &[("COLLATION_NAME", Text), ("CHARACTER_SET_NAME", Text)],
        rows: |_| COLLATIONS.iter().map(|c| row![c.name, c.charset]).collect(),
    },
    VirtualTable { database: DB, name: "PROCESSLIST", columns: PROCESSES, rows: processes },
    VirtualTable {
        database: DB,
        name: "PLUGINS",
        columns: &[
            ("PLUGIN_NAME", Text),
            ("PLUGIN_VERSION", Text),
            ("PLUGIN_STATUS", Text),
            ("PLUGIN_TYPE", Text),
            ("PLUGIN_DESCRIPTION", Long),
            ("PLUGIN_LICENSE", Text),
        ],
        rows: |_| {
            let plugin = |name: &str, kind: &str| row![name, "1.0", "ACTIVE", kind, "", "Apache-2.0"];
            vec![
                plugin("caching_sha2_password", "AUTHENTICATION"),
                plugin("mysql_native_password", "AUTHENTICATION"),
                plugin("InnoDB", "STORAGE ENGINE"),
            ]
        },
    },
    VirtualTable {
        database: DB,
        name: "USER_PRIVILEGES",
        columns: &[("GRANTEE", Text), ("TABLE_CATALOG", Text), ("PRIVILEGE_TYPE", Text), ("IS_GRANTABLE", Text)],
        rows: access::user_privileges,
    },
    VirtualTable {
        database: DB,
        name: "SCHEMA_PRIVILEGES",
        columns: &[
            ("GRANTEE", Text),
            ("TABLE_CATALOG", Text),
            ("TABLE_SCHEMA", Text),
            ("PRIVILEGE_TYPE", Text),
            ("IS_GRANTABLE", Text),
        ],
        rows: access::schema_privileges,
    },
    VirtualTable {
        database: DB,
        name: "TABLE_PRIVILEGES",
        columns: &[
            ("GRANTEE", Text),
            ("TABLE_CATALOG", Text),
            ("TABLE_SCHEMA", Text),
            ("TABLE_NAME", Text),
            ("PRIVILEGE_TYPE", Text),
            ("IS_GRANTABLE", Text),
        ],
        rows: access::table_privileges,
    },
    VirtualTable {
        database: DB,
        name: "COLUMN_PRIVILEGES",
        columns: &[
            ("GRANTEE", Text),
            ("TABLE_CATALOG", Text),
            ("TABLE_SCHEMA", Text),
            ("TABLE_NAME", Text),
            ("COLUMN_NAME", Text),
            ("PRIVILEGE_TYPE", Text),
            ("IS_GRANTABLE", Text),
        ],
        rows: access::column_privileges,
    },
    VirtualTable {
        database: DB,
        name: "APPLICABLE_ROLES",
        columns: &[
            ("USER", Text),
            ("HOST", Text),
            ("GRANTEE", Text),
            ("GRANTEE_HOST", Text),
            ("ROLE_NAME", Text),
            ("ROLE_HOST", Text),
            ("IS_GRANTABLE", Text),
            ("IS_DEFAULT", Text),
            ("IS_MANDATORY", Text),
        ],
        rows: access::applicable_roles,
    },
    VirtualTable {
        database: DB,
        name: "ENABLED_ROLES",
        columns: &[("ROLE_NAME", Text), ("ROLE_HOST", Text), ("IS_DEFAULT", Text), ("IS_MANDATORY", Text)],
        rows: access::enabled_roles,
    },
    VirtualTable {
        database: "mysql",
        name: "db",
        columns: &[
            ("Host", Text),
            ("Db", Text),
            ("User", Text),
            ("Select_priv", Text),
            ("Insert_priv", Text),
            ("Update_priv", Text),
            ("Delete_priv", Text),
            ("Create_priv", Text),
            ("Drop_priv", Text),
            ("Grant_priv", Text),
        ],
        rows: access::mysql_db,
    },
    VirtualTable {
        database: "mysql",
        name: "tables_priv",
        columns: &[
            ("Host", Text),
            ("Db", Text),
            ("User", Text),
            ("Table_name", Text),
            ("Table_priv", Text),
            ("Column_priv", Text),
        ],
        rows: access::mysql_tables_priv,
    },
    VirtualTable { database: DB, name: "SESSION_VARIABLES", columns: NAME_VALUE, rows: |cx| pairs(cx.variables) },
    VirtualTable { database: DB, name: "GLOBAL_VARIABLES", columns: NAME_VALUE, rows: |cx| pairs(cx.global_variables) },
    VirtualTable { database: DB, name: "SESSION_STATUS", columns: NAME_VALUE, rows: |cx| pairs(cx.status) },
    VirtualTable { database: DB, name: "GLOBAL_STATUS", columns: NAME_VALUE, rows: |cx| pairs(cx.status) },
    VirtualTable {
        database: PERFORMANCE,
        name: "session_variables",
        columns: NAME_VALUE,
        rows: |cx| pairs(cx.variables),
    },
    VirtualTable {
        database: PERFORMANCE,
        name: "global_variables",
        columns: NAME_VALUE,
        rows: |cx| pairs(cx.global_variables),
    },
    VirtualTable { database: PERFORMANCE, name: "session_status", columns: NAME_VALUE, rows: |cx| pairs(cx.status) },
    VirtualTable { database: PERFORMANCE, name: "global_status", columns: NAME_VALUE, rows: |cx| pairs(cx.status) },
    VirtualTable { database: PERFORMANCE, name: "processlist", columns: PROCESSES, rows: processes },
    VirtualTable {
        database: "mysql",
        name: "user",
        columns: &[
            ("Host", Text),
            ("User", Text),
            ("plugin", Text),
            ("authentication_string", Text),
            ("account_locked", Text),
            ("password_expired", Text),
            ("Select_priv", Text),
            ("Insert_priv", Text),
            ("Update_priv", Text),
            ("Delete_priv", Text),
            ("Create_priv", Text),
            ("Drop_priv", Text),
            ("Grant_priv", Text),
            ("Super_priv", Text),
        ],
        rows: mysql_user,
    },
];

fn pairs(pairs: &[(String, String)]) -> Vec<Vec<Cell>> {
    pairs.iter().map(|(name, value)| row![name, value]).collect()
}

fn processes(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    cx.processes.iter().map(|process| process_row(process, true)).collect()
}

fn mysql_user(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let users = cx.reader.users().into_iter();
    users
        .map(|user| {
            let sha2 = user.verifiers.contains_key("caching_sha2_password")
                || !user.verifiers.contains_key("mysql_native_password");
            let plugin = if sha2 { "caching_sha2_password" } else { "mysql_native_password" };
            let has = |privilege| access::yes(user.grants.global.has(privilege));
            // The verifier itself is shown to nobody.
            row![
                users::host_of(&user),
                &user.name,
                plugin,
                "",
                access::yes(user.verifiers.contains_key("locked")),
                "N",
                has(Privileges::SELECT),
                has(Privileges::INSERT),
                has(Privileges::UPDATE),
                has(Privileges::DELETE),
                has(Privileges::CREATE),
                has(Privileges::DROP),
                has(Privileges::GRANT_OPTION),
                has(Privileges::SUPER)
            ]
        })
        .collect()
}
