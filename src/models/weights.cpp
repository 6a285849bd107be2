#include "models/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "formats/edit_distance.h"
#include "formats/json.h"

namespace headscope::models {

namespace {

bool is_number(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 ||
         is_quantised(dtype);
}

std::string nearest(std::string_view wanted, const Tensors& tensors) {
  constexpr std::size_t kLongest = 256;
  std::string best;
  std::size_t least = std::string::npos;
  for (const auto& [name, view] : tensors.by_name) {
    const std::size_t d =
        edit_distance(wanted.substr(0, kLongest), std::string_view(name).substr(0, kLongest));
    if (d >= least) continue;
    least = d;
    best = name;
  }
  return best;
}

// Rows of a matrix or numbers of a bias in another order, in their own dtype.
Tensor reordered(const AnyView& from, std::span<const std::int64_t> order) {
  Shape shape = from.shape;
  const std::int64_t each = shape.size() == 1 ? 1 : shape[1];
  shape[0] = static_cast<std::int64_t>(order.size());
  Tensor to(from.dtype, shape);
  const std::size_t step = bytes_of(from.dtype, each);
  for (std::size_t n = 0; n < order.size(); ++n)
    std::memcpy(to.raw() + n * step, from.data + static_cast<std::size_t>(order[n]) * step, step);
  return to;
}

// Whether the layer before or behind has the same tensor: between one that has it and one that has not lies
// a border, wherever it is missing.
bool is_in_next_layer(const Weights& weights, const std::string& name) {
  constexpr std::string_view kDigits = "0123456789";
  constexpr std::size_t kMostDigits = 6;
  for (std::size_t at = name.find('.'); at != std::string::npos; at = name.find('.', at + 1)) {
    const std::size_t end = name.find_first_not_of(kDigits, at + 1);
    if (end == std::string::npos || end == at + 1 || end - at > kMostDigits || name[end] != '.')
      continue;
    const int layer = std::stoi(name.substr(at + 1, end - at - 1));
    for (const int other : {layer - 1, layer + 1}) {
      if (weights.find(name.substr(0, at + 1) + std::to_string(other) + name.substr(end)))
        return true;
    }
    return false;
  }
  return false;
}

}  // namespace

Tensors Tensors::of(Safetensors file) {
  auto kept = std::make_shared<const Safetensors>(std::move(file));
  return {kept->name(), kept->tensors(), kept};
}

std::string Tensors::shown(const std::string& name) const {
  const std::string own = own_name ? own_name(name) : std::string();
  return own.empty() || own == name ? json::quote(name)
                                    : fmt::format("{} ({})", json::quote(own), name);
}

// The name that a family's table has may be with or without the outermost word.
std::string Weights::shown(const std::string& name) const {
  const std::string bare = tensors_.shown(name);
  if (!tensors_.own_name || bare != json::quote(name)) return bare;
  for (const std::string& prefix : prefixes_) {
    std::string whole = tensors_.shown(prefix + name);
    if (whole != json::quote(prefix + name)) return whole;
  }
  return bare;
}

std::int64_t Weights::parameters() const {
  std::int64_t sum = 0;
  for (const auto& [name, tensor] : tensors_.by_name)
    sum += is_number(tensor.dtype) ? tensor.size() : 0;
  return sum;
}

const AnyView* Weights::find(const std::string& name) const {
  const auto& all = tensors_.by_name;
  if (const auto bare = all.find(name); bare != all.end()) return &bare->second;
  for (const std::string& prefix : prefixes_) {
    if (const auto found = all.find(prefix + name); found != all.end()) return &found->second;
  }
  return nullptr;
}

const AnyView& Weights::at(const std::string& name) const {
  const AnyView* found = find(name);
  if (found == nullptr) {
    const std::string near = nearest(name, tensors_);
    throw Error(ErrorCode::kNotFound,
                fmt::format("[{}] expected a tensor {}, found none{}",
                            tensors_.file,
                            shown(name),
                            near.empty() ? "" : "; the nearest name is " + tensors_.shown(near)));
  }
  if (!is_number(found->dtype)) {
    throw Error(ErrorCode::kDType,
                fmt::format("[{}] expected {} to be f32, f16, bf16 or quantised, found {}",
                            tensors_.file,
                            tensors_.own_name ? shown(name) : name,
                            headscope::name(found->dtype)));
  }
  return *found;
}

const AnyView& Weights::at(const std::string& name, const Shape& shape) const {
  const AnyView& found = at(name);
  if (found.shape != shape) {
    throw Error(ErrorCode::kShape,
                fmt::format("[{}] expected {} {}, found {}",
                            tensors_.file,
                            tensors_.own_name ? shown(name) : name,
                            to_string(shape),
                            to_string(found.shape)));
  }
  return found;
}

AnyView Weights::bias(const std::string& name, std::int64_t out) const {
  const std::string full = name + ".bias";
  if (find(full) == nullptr && !is_in_next_layer(*this, full)) return {};
  return at(name + ".bias", {out});
}

Linear Weights::linear(const std::string& name, std::int64_t in, std::int64_t out) const {
  const bool turned = layout_ == Linear::Layout::kInOut;
  const AnyView& weight = at(name + ".weight", turned ? Shape{in, out} : Shape{out, in});
  return linear(weight, bias(name, out), layout_);
}

Linear Weights::linear(const std::string& name,
                       std::int64_t in,
                       std::int64_t out,
                       std::span<const std::int64_t> order) {
  if (order.empty()) return linear(name, in, out);
  const AnyView weight = keep(reordered(at(name + ".weight", {out, in}), order));
  AnyView shift = bias(name, out);
  if (shift.data != nullptr) shift = keep(reordered(shift, order));
  return linear(weight, shift);
}

Norm Weights::norm(const std::string& name, std::int64_t width, const NormFacts& facts) const {
  Norm norm{facts.kind, facts.eps, {}, {}};
  if (facts.bare) return norm;
  // Files of 2018 say gamma and beta.
  const bool old = find(name + ".weight") == nullptr && find(name + ".gamma") != nullptr;
  norm.weight = Tensor::f32_from(at(name + (old ? ".gamma" : ".weight"), {width}));
  if (facts.plus_one) {
    for (float& w : norm.weight.span<float>()) w += 1.0F;
  }
  const std::string bias = name + (old ? ".beta" : ".bias");
  const bool there = find(bias) != nullptr || is_in_next_layer(*this, bias);
  if (facts.kind == HeadNorm::Kind::kLayer && there)
    norm.bias = Tensor::f32_from(at(bias, {width}));
  return norm;
}

Tensor Weights::numbers(const std::string& name, std::span<const std::int64_t> counts) const {
  AnyView found = at(name);
  const std::int64_t n = found.size();
  if (std::find(counts.begin(), counts.end(), n) == counts.end()) {
    throw Error(ErrorCode::kShape,
                fmt::format("[{}] expected {} numbers in {}, found {}",
                            tensors_.file,
                            fmt::join(counts, " or "),
                            tensors_.own_name ? shown(name) : name,
                            to_string(found.shape)));
  }
  found.shape = {n};
  return Tensor::f32_from(found);
}

Linear Weights::linear(const AnyView& weight, const AnyView& bias, Linear::Layout layout) const {
  if (weight.dtype == DType::kF32 || layout == Linear::Layout::kInOut)
    return Linear(weight, bias, layout);
  return Linear::stored(weight, bias, tensors_.compute);
}

AnyView Weights::keep(Tensor tensor) {
  made_.push_back(std::move(tensor));
  return made_.back().any();
}

void add_row(const AnyView& table, std::int64_t row, float factor, std::span<float> to) {
  AnyView one = table;
  one.shape = {static_cast<std::int64_t>(to.size())};
  one.data += static_cast<std::size_t>(row) * bytes_of(table.dtype, one.shape[0]);
  const Tensor wide = Tensor::f32_from(one);
  const auto from = wide.span<float>();
  for (std::size_t c = 0; c < to.size(); ++c) to[c] += factor * from[c];
}

}  // namespace headscope::models
