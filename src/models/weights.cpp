#include "models/weights.h"

#include <fmt/format.h>

namespace headscope::models {

namespace {

void check(const AnyView& tensor,
           const std::string& name,
           const Shape& shape,
           const std::string& file) {
  if (tensor.dtype != DType::kF32 && tensor.dtype != DType::kF16 && tensor.dtype != DType::kBF16) {
    throw Error(ErrorCode::kDType,
                fmt::format("[{}] expected {} to be f32, f16 or bf16, found {}",
                            file,
                            name,
                            headscope::name(tensor.dtype)));
  }
  if (tensor.shape != shape) {
    throw Error(ErrorCode::kShape,
                fmt::format("[{}] expected {} {}, found {}",
                            file,
                            name,
                            to_string(shape),
                            to_string(tensor.shape)));
  }
}

}  // namespace

const AnyView* Weights::find(const std::string& name) const {
  if (const AnyView* bare = file_.find(name)) return bare;
  for (const std::string& prefix : prefixes_) {
    if (const AnyView* found = file_.find(prefix + name)) return found;
  }
  return nullptr;
}

const AnyView& Weights::at(const std::string& name, const Shape& shape) const {
  const AnyView* found = find(name);
  if (found == nullptr) found = &file_.at(name);  // Throws, naming what comes nearest.
  check(*found, name, shape, file_.name());
  return *found;
}

AnyView Weights::bias(const std::string& name, std::int64_t out) const {
  const AnyView* found = find(name + ".bias");
  if (found == nullptr) return {};
  check(*found, name + ".bias", {out}, file_.name());
  return *found;
}

Linear Weights::linear(const std::string& name, std::int64_t in, std::int64_t out) const {
  return Linear(at(name + ".weight", {out, in}), bias(name, out));
}

Norm Weights::norm(const std::string& name, std::int64_t width) const {
  // Files of 2018 say gamma and beta.
  const bool old = find(name + ".weight") == nullptr && find(name + ".gamma") != nullptr;
  return {Tensor::f32_from(at(name + (old ? ".gamma" : ".weight"), {width})),
          Tensor::f32_from(at(name + (old ? ".beta" : ".bias"), {width}))};
}

}  // namespace headscope::models
