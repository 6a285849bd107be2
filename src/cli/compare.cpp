#include "cli/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace headscope::cli {

namespace {
constexpr double kLeast = 1e-5;

// Largest difference and value over the rows that count.
struct Largest {
  double difference = 0.0;
  double value = 0.0;
  std::int64_t rows = 0;
  bool leaked = false;  // A weight where the reference has none.

  void take(float ours, float reference) {
    const double d = std::abs(static_cast<double>(ours) - static_cast<double>(reference));
    // Once NaN, always NaN: std::max would lose it.
    if (!std::isnan(difference) && !(d <= difference)) difference = d;
    value = std::max(value, std::abs(static_cast<double>(reference)));
  }
};

bool counts(const Tensor& mask, std::int64_t b, std::int64_t t) {
  return mask.empty() || mask.view<std::uint8_t, 2>()(b, t) != 0;
}

void compare_attention(std::span<const float> ours,
                       std::span<const float> reference,
                       const Shape& shape,
                       const Tensor& mask,
                       const Tensor& key_mask,
                       Largest& out) {
  const std::int64_t keys = shape[3];
  std::size_t at = 0;
  for (std::int64_t b = 0; b < shape[0]; ++b) {
    for (std::int64_t row = 0; row < shape[1] * shape[2]; ++row) {
      const bool wanted = counts(mask, b, row % shape[2]);
      for (std::int64_t j = 0; j < keys; ++j, ++at) {
        if (!wanted) continue;
        out.take(ours[at], reference[at]);
        const bool padded = !counts(key_mask, b, j);
        const float limit = padded ? 0.0F : std::numeric_limits<float>::min();
        if (reference[at] == 0.0F && ours[at] != 0.0F && !(ours[at] < limit)) out.leaked = true;
      }
      out.rows += wanted ? 1 : 0;
    }
  }
}

// Rows of [B,T,...], or everything of a tensor without tokens.
void compare_rows(std::span<const float> ours,
                  std::span<const float> reference,
                  const Shape& shape,
                  const Tensor& mask,
                  Largest& out) {
  const bool by_token =
      shape.size() >= 3 && !mask.empty() && mask.dim(0) == shape[0] && mask.dim(1) == shape[1];
  const std::int64_t rows = by_token ? shape[0] * shape[1] : 1;
  const std::size_t width = ours.size() / static_cast<std::size_t>(std::max<std::int64_t>(rows, 1));
  for (std::int64_t row = 0; row < rows; ++row) {
    if (by_token && !counts(mask, row / shape[1], row % shape[1])) continue;
    const std::size_t begin = static_cast<std::size_t>(row) * width;
    for (std::size_t i = begin; i < begin + width; ++i) out.take(ours[i], reference[i]);
    ++out.rows;
  }
}
}  // namespace

bool is_attention(const std::string& tensor) { return tensor.find("attentions.") != std::string::npos; }

double tolerance_for(const std::string& tensor, double largest, const Allowance& allowance) {
  if (allowance.tolerance) return *allowance.tolerance;
  if (is_attention(tensor)) return kLeast;
  if (allowance.noise) return std::max(kLeast, 20.0 * *allowance.noise);
  return std::max(kLeast, 2e-5 * largest);
}

Compared compare(const std::string& tensor,
                 const AnyView& reference,
                 const Tensor& ours,
                 const Tensor& mask,
                 const Allowance& allowance,
                 const Tensor* keys) {
  Compared out;
  out.tensor = tensor;
  out.shape = reference.shape;
  out.error = out.relative = std::numeric_limits<double>::quiet_NaN();
  if (ours.empty()) {
    out.problem = "missing";
    return out;
  }
  if (ours.shape() != reference.shape) {
    out.problem = to_string(ours.shape());
    return out;
  }
  const Tensor expected = Tensor::f32_from(reference);
  Largest largest;
  const bool attention = is_attention(tensor) && out.shape.size() == 4;
  if (attention) {
    const Tensor& asked = keys == nullptr ? mask : *keys;
    compare_attention(ours.span<float>(), expected.span<float>(), out.shape, mask, asked, largest);
  } else {
    compare_rows(ours.span<float>(), expected.span<float>(), out.shape, mask, largest);
  }
  out.error = largest.difference;
  out.relative = largest.value > 0.0 ? largest.difference / largest.value : largest.difference;
  out.tolerance = tolerance_for(tensor, largest.value, allowance);
  if (largest.rows == 0 || expected.size() == 0) {
    out.problem = "empty";
  } else if (largest.leaked) {
    out.problem = "leak";
  }
  out.ok = out.problem.empty() && out.error <= out.tolerance;
  return out;
}

}  // namespace headscope::cli
