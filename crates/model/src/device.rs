//! Where tensors live: the `--device` argument turned into a candle device.
use candle_core::Device;

use crate::Error;

/// Parses `cpu`, `cuda` or `cuda:N` and opens the device.
///
/// # Errors
/// When the name is none of these, or the device cannot be opened (no such GPU, or built without the `cuda` feature).
pub fn device(name: &str) -> Result<Device, Error> {
    let fail = |cause: String| Error::Device { name: name.to_owned(), cause };
    let ordinal = match name {
        "cpu" => return Ok(Device::Cpu),
        "cuda" => 0,
        other => {
            let number = other.strip_prefix("cuda:").ok_or_else(|| fail("expected `cpu` or `cuda:N`".to_owned()))?;
            number.parse().map_err(|_| fail(format!("`{number}` is no number of a GPU")))?
        }
    };
    if !cfg!(feature = "cuda") {
        return Err(fail("this build has no CUDA support (cargo feature `cuda`)".to_owned()));
    }
    Device::new_cuda(ordinal).map_err(|cause| fail(cause.to_string()))
}

#[cfg(test)]
mod tests {
    use super::device;

    #[test]
    fn names_are_parsed_and_refused_with_a_reason() {
        assert!(device("cpu").is_ok_and(|d| d.is_cpu()));
        let refused = |name| device(name).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(refused("gpu").contains("expected `cpu` or `cuda:N`"));
        assert!(refused("cuda:x").contains("`x` is no number"));
    }
}
