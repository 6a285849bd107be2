#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "headscope/attention.h"
#include "headscope/safetensors.h"

namespace headscope::golden {

/// One case of golden/attention: its options and its tensors (README.md there).
class FocusCase {
 public:
  explicit FocusCase(const std::filesystem::path& file)
      : file_(Safetensors::open(file)), json_(nlohmann::json::parse(file_.metadata().at("case"))) {}

  [[nodiscard]] bool given(const char* option) const {
    if (!json_.contains(option)) return false;
    const auto& value = json_.at(option);
    return !(value.is_null() || value == false || value == 0 || value == 0.0);
  }
  [[nodiscard]] bool has(const char* name) const { return file_.find(name) != nullptr; }

  template <typename T, int N>
  [[nodiscard]] View<const T, N> view(const char* name) const {
    return file_.at(name).view<T, N>(name);
  }
  [[nodiscard]] const AnyView& tensor(const char* name) const { return file_.at(name); }

  [[nodiscard]] FocusInput input() const {
    FocusInput in;
    // Rotary positions are turned in `split`: focus starts from the rotated numbers.
    in.q = view<float, 4>(has("q_rotated") ? "q_rotated" : "q");
    in.k = view<float, 4>(has("k_rotated") ? "k_rotated" : "k");
    in.v = view<float, 4>("v");
    FocusOptions& o = in.options;
    o.scale = json_.at("scale").get<float>();
    o.causal = json_.at("causal").get<bool>();
    o.window_left = json_.at("window_left").get<std::int64_t>();
    o.window_right = json_.at("window_right").get<std::int64_t>();
    o.prefix = json_.at("prefix").get<std::int64_t>();
    o.softcap = json_.at("softcap").get<float>();
    o.query_offset = json_.at("query_offset").get<std::int64_t>();
    if (has("key_mask")) o.key_mask = view<std::uint8_t, 2>("key_mask");
    if (has("bias")) o.bias = view<float, 4>("bias");
    if (has("slopes")) o.slopes = view<float, 1>("slopes");
    if (has("sinks")) o.sinks = view<float, 1>("sinks");
    if (has("segments")) o.segments = {view<std::int32_t, 1>("segments").data, {1, in.q.shape[2]}};
    if (has("cu_seqlens_q")) {
      o.query_offset.reset();  // each sequence has its own
      o.cu_seqlens_q = view<std::int32_t, 1>("cu_seqlens_q");
      o.cu_seqlens_k = view<std::int32_t, 1>("cu_seqlens_k");
    }
    return in;
  }

  /// The case's options as they were made.
  [[nodiscard]] const nlohmann::json& json() const { return json_; }
  /// Largest |score| of a visible pair.
  [[nodiscard]] double largest_score() const { return json_.at("largest_score").get<double>(); }
  /// What the rounding of one score does to a weight: u * (4 + largest score + sqrt(D)), u = 2^-24.
  [[nodiscard]] double tolerance() const {
    return 6e-8 * (4.0 + largest_score() + std::sqrt(json_.at("width").get<double>()));
  }

 private:
  Safetensors file_;
  nlohmann::json json_;
};

/// Largest difference, over the largest reference value (or over `norm` when it is given).
inline double error(std::span<const float> found,
                    std::span<const float> expected,
                    double norm = 0.0) {
  double worst = 0.0;
  double largest = norm;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (norm == 0.0 && std::isfinite(expected[i]))
      largest = std::max(largest, std::abs(double{expected[i]}));
    if (expected[i] == found[i]) continue;  // both -inf
    const double difference = std::abs(double{found[i]} - double{expected[i]});
    worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
  }
  return worst == 0.0 ? 0.0 : worst / (largest == 0.0 ? 1.0 : largest);
}

inline std::span<const float> floats(const AnyView& view) {
  return {reinterpret_cast<const float*>(view.data), static_cast<std::size_t>(view.size())};
}

}  // namespace headscope::golden
