#include "kernels/scalar.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "headscope/tensor.h"

namespace headscope::kernels {

namespace scalar {

namespace {

constexpr double kMinusInf = -std::numeric_limits<double>::infinity();

// Element n of f32 or bf16 numbers.
double number_at(const FocusTask& t, const void* from, std::int64_t n) {
  if (t.number == Number::kF32) return static_cast<double>(static_cast<const float*>(from)[n]);
  return static_cast<double>(to_f32(static_cast<const bf16*>(from)[n]));
}

double wide(float x) { return static_cast<double>(x); }
double wide(bf16 x) {  // to_f32, where the loop below can see it
  const std::uint32_t bits = std::uint32_t{x.bits} << 16;
  float y;
  std::memcpy(&y, &bits, sizeof(y));
  return static_cast<double>(y);
}

// Eight partial sums, so that rows of a long text are recomputed while somebody waits for them.
template <typename T>
double dot(const T* a, const T* b, std::int64_t n) {
  double sum[8] = {};
  std::int64_t d = 0;
  for (; d + 8 <= n; d += 8) {
    for (int e = 0; e < 8; ++e) sum[e] += wide(a[d + e]) * wide(b[d + e]);
  }
  for (; d < n; ++d) sum[0] += wide(a[d]) * wide(b[d]);
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

double dot(const FocusTask& t, const HeadTask& head, std::int64_t i, std::int64_t j) {
  const std::int64_t q = i * t.q_stride;
  const std::int64_t k = j * t.k_stride;
  if (t.number == Number::kF32)
    return dot(static_cast<const float*>(head.q) + q, static_cast<const float*>(t.k) + k, t.width);
  return dot(static_cast<const bf16*>(head.q) + q, static_cast<const bf16*>(t.k) + k, t.width);
}

// Statistics of one row from its weights; w[j] sums to 1 (with a sink: to less).
void record_stats(const FocusTask& t,
                  const HeadTask& head,
                  std::int64_t i,
                  const double* s,
                  const double* w,
                  double lse) {
  const RowRecord& r = head.record;
  const double p = static_cast<double>(i + t.offset);
  double entropy = 0.0;
  double sum = 0.0;
  double mean = 0.0;
  double best = 0.0;
  std::int32_t arg = -1;
  for (std::int64_t j = 0; j < t.keys; ++j) {
    if (s[j] == kMinusInf) continue;
    entropy += w[j] * (lse - s[j]);
    sum += w[j];
    mean += w[j] * std::abs(p - static_cast<double>(j));
    if (arg < 0 || w[j] > best) {
      best = w[j];
      arg = static_cast<std::int32_t>(j);
    }
  }
  const double sink = head.sink != nullptr ? static_cast<double>(*head.sink) : kMinusInf;
  if (sink != kMinusInf) entropy += std::exp(sink - lse) * (lse - sink);
  mean = sum > 0.0 ? mean / sum : 0.0;
  double var = 0.0;
  for (std::int64_t j = 0; j < t.keys; ++j) {
    const double d = std::abs(p - static_cast<double>(j)) - mean;
    var += w[j] * d * d;
  }
  const std::int64_t self = i + t.offset;
  const auto at = [&](std::int64_t j) {
    return j >= 0 && j < t.keys ? static_cast<float>(w[j]) : 0.0F;
  };
  r.entropy[i] = arg < 0 ? 0.0F : static_cast<float>(entropy);
  r.max_weight[i] = static_cast<float>(best);
  r.argmax[i] = arg < 0 ? -1 : arg + static_cast<std::int32_t>(t.key_base);
  r.distance_mean[i] = static_cast<float>(mean);
  r.distance_var[i] = sum > 0.0 ? static_cast<float>(var / sum) : 0.0F;
  r.first_mass[i] = at(0);
  r.self_mass[i] = at(self);
  r.previous_mass[i] = at(self - 1);
}

void record_top(
    const FocusTask& t, const RowRecord& r, std::int64_t i, const double* s, const double* w) {
  float* weights = r.top_weights + i * r.top_k;
  std::int32_t* keys = r.top_keys + i * r.top_k;
  double scores[kMaxTop];
  int n = 0;
  for (std::int64_t j = 0; j < t.keys; ++j) {
    if (s[j] == kMinusInf || (n == r.top_k && !(s[j] > scores[n - 1]))) continue;
    int at = n < r.top_k ? n++ : n - 1;
    for (; at > 0 && s[j] > scores[at - 1]; --at) {
      scores[at] = scores[at - 1];
      keys[at] = keys[at - 1];
    }
    scores[at] = s[j];
    keys[at] = static_cast<std::int32_t>(j);
  }
  for (int m = 0; m < r.top_k; ++m) {
    weights[m] = m < n ? static_cast<float>(w[keys[m]]) : 0.0F;
    keys[m] = m < n ? keys[m] + static_cast<std::int32_t>(t.key_base) : -1;
  }
}

void record_maps(const FocusTask& t, const RowRecord& r, std::int64_t i, const double* w) {
  const std::int64_t cell_row = (t.row_base + i) / r.rows_per_cell - r.first_cell;
  for (std::int64_t j = 0; j < t.keys; ++j) {
    const auto weight = static_cast<float>(w[j]);
    if (r.column_mass != nullptr) r.column_mass[j] += weight;
    if (r.pooled_sum == nullptr) continue;
    const std::int64_t cell = cell_row * r.pooled_columns + (t.key_base + j) / r.keys_per_cell;
    r.pooled_sum[cell] += weight;
    r.pooled_max[cell] = std::max(r.pooled_max[cell], weight);
  }
}

void focus_row(const FocusTask& t, const HeadTask& head, std::int64_t i, double* s, double* w) {
  score_row(t, head, i, 0, t.keys, s);
  double top = head.sink != nullptr ? static_cast<double>(*head.sink) : kMinusInf;
  for (std::int64_t j = 0; j < t.keys; ++j) top = s[j] > top || std::isnan(s[j]) ? s[j] : top;
  double sum = 0.0;
  if (top != kMinusInf) {
    for (std::int64_t j = 0; j < t.keys; ++j) sum += std::exp(s[j] - top);
    if (head.sink != nullptr) sum += std::exp(static_cast<double>(*head.sink) - top);
  }
  const double lse = top == kMinusInf ? kMinusInf : top + std::log(sum);
  head.lse[i] = static_cast<float>(lse);
  for (std::int64_t j = 0; j < t.keys; ++j)
    w[j] = top == kMinusInf ? 0.0 : std::exp(s[j] - top) / sum;
  for (std::int64_t n = 0; n < t.value_width; ++n) {
    double mixed = 0.0;
    for (std::int64_t j = 0; j < t.keys; ++j) {
      if (s[j] != kMinusInf) mixed += w[j] * number_at(t, t.v, j * t.v_stride + n);
    }
    const std::int64_t at = i * t.out_stride + n;
    if (t.number == Number::kF32)
      static_cast<float*>(head.out)[at] = static_cast<float>(mixed);
    else
      static_cast<bf16*>(head.out)[at] = to_bf16(static_cast<float>(mixed));
  }
  const RowRecord& r = head.record;
  if (r.entropy != nullptr) record_stats(t, head, i, s, w, lse);
  if (r.top_k > 0) record_top(t, r, i, s, w);
  record_maps(t, r, i, w);
}

}  // namespace

void score_row(const FocusTask& t,
               const HeadTask& head,
               std::int64_t i,
               std::int64_t first,
               std::int64_t n,
               double* s) noexcept {
  const KeyRange range = key_range(t, i);
  for (std::int64_t m = 0; m < n; ++m) {
    const std::int64_t j = first + m;
    const bool hidden = j < range.begin || j >= range.end ||
                        (t.row_segments != nullptr && t.row_segments[i] != t.key_segments[j]) ||
                        (t.key_mask != nullptr && t.key_mask[j] == 0);
    if (hidden) {
      s[m] = kMinusInf;
      continue;
    }
    double x = dot(t, head, i, j) * static_cast<double>(t.scale);
    if (t.softcap > 0.0F)
      x = static_cast<double>(t.softcap) * std::tanh(x / static_cast<double>(t.softcap));
    if (head.slope != 0.0F)
      x -= static_cast<double>(head.slope) * std::abs(static_cast<double>(i + t.offset - j));
    if (head.bias != nullptr) x += static_cast<double>(head.bias[i * t.bias_row_stride + j]);
    s[m] = x;
  }
}

std::size_t focus_scratch(const FocusTask& task) {
  return 2 * static_cast<std::size_t>(task.keys) * sizeof(double) + 64;
}

void focus(const FocusTask& t) noexcept {
  auto* s = reinterpret_cast<double*>(t.scratch);
  for (std::int64_t r = t.row_begin; r < t.row_end; ++r)
    focus_row(t, t.head_of(r), t.row_of(r), s, s + t.keys);
}

void activate(Activation kind, float* x, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) {
    const auto a = static_cast<double>(x[i]);
    double y = a;
    switch (kind) {
      case Activation::kGelu:
        y = 0.5 * a * (1.0 + std::erf(a * 0.70710678118654752440));
        break;
      case Activation::kGeluTanh:
        y = 0.5 * a * (1.0 + std::tanh(0.79788456080286535588 * (a + 0.044715 * a * a * a)));
        break;
      case Activation::kRelu:
        y = std::max(a, 0.0);
        break;
      case Activation::kReluSquared:
        y = std::max(a, 0.0) * std::max(a, 0.0);
        break;
      case Activation::kGeluQuick:
        y = a / (1.0 + std::exp(-1.702 * a));
        break;
      case Activation::kSilu:
        y = a / (1.0 + std::exp(-a));
        break;
      case Activation::kTanh:
        y = std::tanh(a);
        break;
    }
    x[i] = static_cast<float>(y);
  }
}

void layer_norm(const float* x,
                const float* weight,
                const float* bias,
                float eps,
                std::int64_t n,
                float* y) noexcept {
  double mean = 0.0;
  for (std::int64_t i = 0; i < n; ++i) mean += static_cast<double>(x[i]);
  mean /= static_cast<double>(n);
  double var = 0.0;
  for (std::int64_t i = 0; i < n; ++i) var += (x[i] - mean) * (x[i] - mean);
  const double scale = 1.0 / std::sqrt(var / static_cast<double>(n) + static_cast<double>(eps));
  for (std::int64_t i = 0; i < n; ++i) {
    double z = (x[i] - mean) * scale;
    if (weight != nullptr) z *= static_cast<double>(weight[i]);
    if (bias != nullptr) z += static_cast<double>(bias[i]);
    y[i] = static_cast<float>(z);
  }
}

double fma_peak(std::int64_t rounds) noexcept {
  float a[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  for (std::int64_t r = 0; r < rounds; ++r) {
    for (float& x : a) x = x * 0.999F + 0.001F;
  }
  volatile float keep = a[0] + a[1] + a[2] + a[3] + a[4] + a[5] + a[6] + a[7];
  (void)keep;
  return 16.0 * static_cast<double>(rounds);
}

}  // namespace scalar

const Table& scalar_table() {
  static constexpr Table kTable = [] {
    FocusBody rows;
    rows.focus = scalar::focus;
    rows.scratch = scalar::focus_scratch;
    FocusBody none;
    none.rows = 0;
    return Table{"scalar",
                 "plain C++ in double precision, the reference",
                 rows,
                 rows,
                 none,
                 none,
                 scalar::activate,
                 scalar::layer_norm,
                 scalar::fma_peak};
  }();
  return kTable;
}

}  // namespace headscope::kernels
