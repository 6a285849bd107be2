#pragma once

#include <set>
#include <string>
#include <vector>

#include "headscope/linear.h"
#include "headscope/safetensors.h"

namespace headscope::models {

/// Scale and shift of a norm, in f32.
struct Norm {
  Tensor weight;
  Tensor bias;
};

/// A family's tensors by the names of its blueprint: with or without the family's prefix, with old
/// spellings of norms, shapes and dtypes checked. Tensors that nobody asks for are ignored.
class Weights {
 public:
  Weights(const Safetensors& file, std::vector<std::string> prefixes)
      : file_(file), prefixes_(std::move(prefixes)) {}

  /// nullptr when the file has no such tensor under any prefix.
  [[nodiscard]] const AnyView* find(const std::string& name) const;
  /// Errors: kNotFound; kShape naming tensor, expected and found; kDType unless f32, f16, bf16.
  [[nodiscard]] const AnyView& at(const std::string& name, const Shape& shape) const;
  /// `name`.weight [out,in] and, where there is one, `name`.bias [out].
  [[nodiscard]] Linear linear(const std::string& name, std::int64_t in, std::int64_t out) const;
  [[nodiscard]] AnyView bias(const std::string& name, std::int64_t out) const;
  [[nodiscard]] Norm norm(const std::string& name, std::int64_t width) const;

 private:
  const Safetensors& file_;
  std::vector<std::string> prefixes_;
};

}  // namespace headscope::models
