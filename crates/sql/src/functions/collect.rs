//! Aggregates that keep every value of their group: GROUP_CONCAT, JSON_ARRAYAGG and JSON_OBJECTAGG.
//!
//! The values stand packed in one run of bytes, each with the key it is ordered by; that run is also what a part of an
//! aggregation hands to the next. They are ordered at the end.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result as PlanResult, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::column::Column;
use super::strings::TEXT_MAX;
use super::{external, field, json, json_field};
use crate::error::Error;

pub(super) fn all() -> impl Iterator<Item = Arc<AggregateUDF>> {
    let kinds =
        [("group_concat", Kind::Concat, 2), ("json_arrayagg", Kind::Array, 1), ("json_objectagg", Kind::Object, 2)];
    kinds.into_iter().map(|(name, kind, arity)| {
        let signature = Signature::any(arity, Volatility::Immutable);
        Arc::new(AggregateUDF::from(Collect { name, kind, signature }))
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Concat,
    Array,
    Object,
}

/// An aggregate that keeps every value of its group.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Collect {
    name: &'static str,
    kind: Kind,
    signature: Signature,
}

impl AggregateUDFImpl for Collect {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field(&self, _: &[FieldRef]) -> PlanResult<FieldRef> {
        let field = if self.kind == Kind::Concat { field(DataType::Utf8) } else { json_field() };
        Ok(Arc::new(field.with_name(self.name)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> PlanResult<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[items]", args.name), DataType::Binary, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> PlanResult<Box<dyn Accumulator>> {
        let mut keys = Vec::with_capacity(args.order_bys.len());
        for order in args.order_bys {
            keys.push(SortField::new_with_options(order.expr.data_type(args.schema)?, order.options));
        }
        let separator = match (self.kind, args.exprs.get(1)) {
            (Kind::Concat, Some(expr)) => {
                let text = expr.downcast_ref::<datafusion::physical_expr::expressions::Literal>();
                text.and_then(|text| text.value().try_as_str().flatten().map(str::to_owned))
                    .unwrap_or_else(|| ",".to_owned())
            }
            _ => String::new(),
        };
        Ok(Box::new(Items {
            name: self.name,
            kind: self.kind,
            fields: args.expr_fields.to_vec(),
            arguments: args.exprs.len(),
            converter: if keys.is_empty() { None } else { Some(RowConverter::new(keys)?) },
            seen: args.is_distinct.then(HashSet::new),
            separator,
            packed: Vec::new(),
            count: 0,
            answer_bytes: 0,
        }))
    }

    /// The values come in any order, with their keys beside them.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Beneficial
    }

    fn with_beneficial_ordering(self: Arc<Self>, _ordered: bool) -> PlanResult<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }
}

/// The values of one group.
struct Items {
    name: &'static str,
    kind: Kind,
    fields: Vec<FieldRef>,
    arguments: usize,
    converter: Option<RowConverter>,
    /// The values that came, where each counts once.
    seen: Option<HashSet<Box<str>>>,
    separator: String,
    /// See [`Item`].
    packed: Vec<u8>,
    count: usize,
    /// What the answer takes at most.
    answer_bytes: usize,
}

/// One value: in [`Items::packed`] each of the three with its length before it, a `u32`, little-endian.
struct Item<'a> {
    /// By what it is ordered; empty where it is not.
    key: &'a [u8],
    /// The member's, of an object; else empty.
    name: &'a str,
    /// As it stands in the answer: text, or JSON.
    value: &'a str,
}

impl Item<'_> {
    /// Returns what it takes in the answer, with what stands around it.
    fn answer_bytes(&self, separator: &str) -> usize {
        // A name may be escaped: most signs of it are not.
        let name = if self.name.is_empty() { 0 } else { self.name.len() + 6 };
        name + self.value.len() + separator.len().max(2)
    }
}

/// Takes the first item off a run.
fn take<'a>(packed: &mut &'a [u8]) -> PlanResult<Item<'a>> {
    let mut next = || {
        let (length, rest) = packed.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        *packed = rest;
        Some(part)
    };
    let parts = (|| Some((next()?, str::from_utf8(next()?).ok()?, str::from_utf8(next()?).ok()?)))();
    let (key, name, value) = parts.ok_or_else(|| exec_datafusion_err!("BUG: a partial aggregate is damaged"))?;
    Ok(Item { key, name, value })
}

/// Visits the items of a run with where each begins.
fn each<'a>(packed: &'a [u8], mut visit: impl FnMut(usize, Item<'a>) -> PlanResult<()>) -> PlanResult<()> {
    let mut rest = packed;
    while !rest.is_empty() {
        let start = packed.len() - rest.len();
        visit(start, take(&mut rest)?)?;
    }
    Ok(())
}

impl Items {
    fn push(&mut self, item: &Item) -> PlanResult<()> {
        if let Some(seen) = &mut self.seen
            && !seen.insert(item.value.into())
        {
            return Ok(());
        }
        self.count += 1;
        self.answer_bytes += item.answer_bytes(&self.separator);
        if self.answer_bytes > TEXT_MAX {
            let message = format!(
                "Result of {}() was larger than max_allowed_packet ({TEXT_MAX}). Let it work on fewer rows (WHERE, GROUP BY).",
                self.name
            );
            return Err(external(Error::new(1301, "HY000", message)));
        }
        for part in [item.key, item.name.as_bytes(), item.value.as_bytes()] {
            let length = u32::try_from(part.len()).map_err(|_| exec_datafusion_err!("A value is longer than 4 GiB"))?;
            self.packed.extend_from_slice(&length.to_le_bytes());
            self.packed.extend_from_slice(part);
        }
        Ok(())
    }

    /// Visits the items in their order.
    fn visit<'a>(&'a self, mut visit: impl FnMut(Item<'a>)) -> PlanResult<()> {
        let mut starts = Vec::new();
        each(&self.packed, |start, item| {
            match self.converter {
                None => visit(item),
                Some(_) => starts.push(start),
            }
            Ok(())
        })?;
        let item = |start: usize| take(&mut &self.packed[start..]);
        starts.sort_by(|left, right| {
            let key = |start: &usize| item(*start).map(|item| item.key).unwrap_or_default();
            key(left).cmp(key(right))
        });
        starts.into_iter().try_for_each(|start| item(start).map(&mut visit))
    }
}

impl std::fmt::Debug for Items {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} items", self.count)
    }
}

impl Accumulator for Items {
    fn update_batch(&mut self, values: &[ArrayRef]) -> PlanResult<()> {
        let keys = match &self.converter {
            Some(converter) => Some(converter.convert_columns(&values[self.arguments..])?),
            None => None,
        };
        let fields = self.fields.clone();
        let columns = values[..self.arguments]
            .iter()
            .zip(&fields)
            .map(|(array, field)| Column::new(array.as_ref(), field, false))
            .collect::<PlanResult<Vec<_>>>()?;
        for row in 0..values[0].len() {
            let key = keys.as_ref().map(|keys| keys.row(row));
            let key = key.as_ref().map_or(&[][..], |key| key.as_ref());
            let first = columns[0].get(row);
            match self.kind {
                Kind::Concat => {
                    if let Some(text) = first.to_text() {
                        self.push(&Item { key, name: "", value: &text })?;
                    }
                }
                Kind::Array => {
                    self.push(&Item { key, name: "", value: &json::to_text(&json::document(&first)) })?;
                }
                Kind::Object => {
                    let Some(name) = first.to_text() else {
                        let message = "JSON documents may not contain NULL member names.";
                        return Err(external(Error::new(3158, "22032", message)));
                    };
                    let value = json::to_text(&json::document(&columns[1].get(row)));
                    self.push(&Item { key, name: &name, value: &value })?;
                }
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> PlanResult<ScalarValue> {
        if self.count == 0 {
            return Ok(ScalarValue::Utf8(None));
        }
        let mut out = String::with_capacity(self.answer_bytes);
        let mut is_first = true;
        let mut begin = |out: &mut String, between: &str| {
            out.push_str(if is_first { "" } else { between });
            is_first = false;
        };
        match self.kind {
            Kind::Concat => self.visit(|item| {
                begin(&mut out, &self.separator);
                out.push_str(item.value);
            })?,
            Kind::Array => {
                out.push('[');
                self.visit(|item| {
                    begin(&mut out, ", ");
                    out.push_str(item.value);
                })?;
                out.push(']');
            }
            Kind::Object => {
                // Of two members of one name the last one stands.
                let mut members = BTreeMap::new();
                self.visit(|item| {
                    members.insert((item.name.len(), item.name), item.value);
                })?;
                out.push('{');
                for ((_, name), value) in members {
                    begin(&mut out, ", ");
                    json::write_name(name, &mut out);
                    out.push_str(value);
                }
                out.push('}');
            }
        }
        Ok(ScalarValue::Utf8(Some(out)))
    }

    /// Counts what `evaluate` takes, too: the answer, and the places or the members that it puts in order.
    fn size(&self) -> usize {
        let ordered = match self.kind {
            Kind::Object => self.count * 72,
            _ if self.converter.is_some() => self.count * 16,
            _ => 0,
        };
        let seen = self.seen.as_ref().map_or(0, |seen| seen.capacity() * 24 + self.answer_bytes);
        size_of::<Items>() + self.packed.capacity() + self.answer_bytes + ordered + seen
    }

    fn state(&mut self) -> PlanResult<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(Some(std::mem::take(&mut self.packed)))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> PlanResult<()> {
        for state in states[0].as_binary::<i32>().iter().flatten() {
            each(state, |_, item| self.push(&item))?;
        }
        Ok(())
    }
}
