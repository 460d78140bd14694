//! SLEEP(n): waits without holding a thread, so that KILL QUERY ends it at once.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use async_trait::async_trait;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::error::Error;

/// Returns the functions that wait.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let sleep = Sleep { signature: Signature::any(1, Volatility::Volatile) };
    vec![Arc::new(AsyncScalarUDF::new(Arc::new(sleep)).into_scalar_udf())]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sleep {
    signature: Signature,
}

impl ScalarUDFImpl for Sleep {
    fn name(&self) -> &str {
        "sleep"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Err(DataFusionError::Internal("SLEEP is called asynchronously".to_owned()))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Sleep {
    fn ideal_batch_size(&self) -> Option<usize> {
        Some(1)
    }

    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let rows = args.number_rows;
        let seconds = args.args[0].to_array(rows)?;
        let seconds = cast(&seconds, &DataType::Float64)?;
        let seconds: &Float64Array = arrow::array::AsArray::as_primitive::<Float64Type>(&seconds);
        for value in seconds {
            // At most a year: a longer wait cannot be told from for ever.
            match value {
                Some(value) if (0.0..=31_536_000.0).contains(&value) => {
                    tokio::time::sleep(Duration::from_secs_f64(value)).await;
                }
                _ => {
                    let error = Error::wrong_arguments("Incorrect arguments to sleep.");
                    return Err(DataFusionError::External(Box::new(error)));
                }
            }
        }
        let zeros: ArrayRef = Arc::new(Int64Array::from(vec![0; rows]));
        Ok(ColumnarValue::Array(zeros))
    }
}
