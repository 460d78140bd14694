//! Aggregates that differ from DataFusion's, or are missing there.
//!
//! SUM of exact numbers is a decimal and never wraps; AVG is SUM through COUNT (the statement rewriter divides them).
//! Those that keep every value of their group are in [`collect`].

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, UInt64Type};
use datafusion::common::{Result as PlanResult, ScalarValue, exec_err};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature,
    StatisticsArgs, Volatility,
};

use super::{collect, decimal_field, field};
use crate::types::temporal;

/// Digits that SUM adds to a decimal's precision.
pub(super) const SUM_DIGITS: u8 = 22;

pub(super) fn all() -> Vec<Arc<AggregateUDF>> {
    let mut list = vec![Arc::new(AggregateUDF::from(Sum {
        inner: sum_udaf(),
        signature: Signature::user_defined(Volatility::Immutable),
    }))];
    for inner in [min_udaf(), max_udaf()] {
        let signature = inner.signature().clone();
        list.push(Arc::new(AggregateUDF::from(Extreme { inner, signature })));
    }
    list.push(Arc::new(AggregateUDF::from(OnlyRow { signature: Signature::any(1, Volatility::Immutable) })));
    list.extend(collect::all());
    list
}

#[derive(Debug)]
struct Sum {
    inner: Arc<AggregateUDF>,
    signature: Signature,
}

impl PartialEq for Sum {
    fn eq(&self, _: &Sum) -> bool {
        true
    }
}

impl Eq for Sum {}

impl Hash for Sum {
    fn hash<H: Hasher>(&self, state: &mut H) {
        "mysql sum".hash(state);
    }
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> PlanResult<Vec<DataType>> {
        let [ty] = types else { return exec_err!("SUM takes one argument") };
        Ok(vec![match ty {
            DataType::Decimal128(precision, scale) => DataType::Decimal128(*precision, *scale),
            ty if ty.is_integer() || matches!(ty, DataType::Null | DataType::Boolean) => DataType::Decimal128(20, 0),
            _ => DataType::Float64,
        }])
    }

    fn return_type(&self, types: &[DataType]) -> PlanResult<DataType> {
        Ok(match &self.coerce_types(types)?[0] {
            DataType::Decimal128(precision, scale) => {
                decimal_field((precision + SUM_DIGITS).min(38), *scale as u8).data_type().clone()
            }
            other => other.clone(),
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> PlanResult<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> PlanResult<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> PlanResult<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> PlanResult<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// DataFusion's MIN or MAX, whose answer shows as many digits of a second as its argument.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    inner: Arc<AggregateUDF>,
    signature: Signature,
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> PlanResult<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> PlanResult<DataType> {
        self.inner.return_type(types)
    }

    fn return_field(&self, fields: &[FieldRef]) -> PlanResult<FieldRef> {
        let answer = self.inner.return_field(fields)?;
        Ok(match fields.first().and_then(|field| temporal(field)) {
            Some(declared) => Arc::new(answer.as_ref().clone().with_metadata(declared)),
            None => answer,
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> PlanResult<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> PlanResult<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> PlanResult<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> PlanResult<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(args)
    }

    fn is_descending(&self) -> Option<bool> {
        self.inner.is_descending()
    }

    fn value_from_stats(&self, args: &StatisticsArgs) -> Option<ScalarValue> {
        self.inner.value_from_stats(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn set_monotonicity(&self, ty: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(ty)
    }
}

/// The value of a subquery's row, and whether there were more rows.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OnlyRow {
    signature: Signature,
}

fn row_fields(value: &Field) -> Fields {
    let value = value.clone().with_name("value").with_nullable(true);
    Fields::from(vec![value, Field::new("more", DataType::Boolean, true)])
}

impl AggregateUDFImpl for OnlyRow {
    fn name(&self) -> &str {
        "mysql_only_row"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> PlanResult<DataType> {
        Ok(DataType::Struct(row_fields(&field(types[0].clone()))))
    }

    fn return_field(&self, fields: &[FieldRef]) -> PlanResult<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), DataType::Struct(row_fields(&fields[0])), true)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> PlanResult<Vec<FieldRef>> {
        let value = args.input_fields[0].as_ref().clone();
        Ok(vec![
            Arc::new(value.with_name(format!("{}[value]", args.name)).with_nullable(true)),
            Arc::new(Field::new(format!("{}[rows]", args.name), DataType::UInt64, false)),
        ])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> PlanResult<Box<dyn Accumulator>> {
        let fields = row_fields(&args.expr_fields[0]);
        let value = ScalarValue::try_from(fields[0].data_type())?;
        Ok(Box::new(FirstOfRows { fields, value, rows: 0 }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

#[derive(Debug)]
struct FirstOfRows {
    fields: Fields,
    value: ScalarValue,
    rows: u64,
}

impl Accumulator for FirstOfRows {
    fn update_batch(&mut self, values: &[ArrayRef]) -> PlanResult<()> {
        if self.rows == 0 && !values[0].is_empty() {
            self.value = ScalarValue::try_from_array(&values[0], 0)?;
        }
        self.rows += values[0].len() as u64;
        Ok(())
    }

    fn evaluate(&mut self) -> PlanResult<ScalarValue> {
        let more = ScalarValue::Boolean(Some(self.rows > 1));
        let columns = vec![self.value.to_array_of_size(1)?, more.to_array_of_size(1)?];
        Ok(ScalarValue::Struct(Arc::new(StructArray::new(self.fields.clone(), columns, None))))
    }

    fn size(&self) -> usize {
        size_of::<FirstOfRows>() + self.value.size()
    }

    fn state(&mut self) -> PlanResult<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::UInt64(Some(self.rows))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> PlanResult<()> {
        let rows = states[1].as_primitive::<UInt64Type>();
        for at in 0..rows.len() {
            if self.rows == 0 && rows.value(at) > 0 {
                self.value = ScalarValue::try_from_array(&states[0], at)?;
            }
            self.rows += rows.value(at);
        }
        Ok(())
    }
}
