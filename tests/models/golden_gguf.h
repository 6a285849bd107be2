#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "formats/json.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"

/// What tests of GGUF files compare.
namespace headscope::golden {

inline json::Value config_in(const std::filesystem::path& folder) {
  return json::parse(read_file(folder / "config.json"), "config.json");
}

inline double largest_difference(const AnyView& a, const AnyView& b) {
  const Tensor x = Tensor::f32_from(a);
  const Tensor y = Tensor::f32_from(b);
  double worst = 0.0;
  for (std::size_t i = 0; i < x.span<float>().size(); ++i)
    worst = std::max(worst,
                     std::abs(static_cast<double>(x.span<float>()[i]) -
                              static_cast<double>(y.span<float>()[i])));
  return worst;
}

inline double worst_of(const Tensor& ours, const AnyView& theirs) {
  EXPECT_EQ(ours.shape(), theirs.shape);
  return ours.shape() == theirs.shape ? largest_difference(ours.any(), theirs) : HUGE_VAL;
}

inline headscope::Run run_of(const Model& model, const Safetensors& io) {
  const AnyView& ids = io.at("input_ids");
  Tokens tokens;
  tokens.ids = Tensor(DType::kI32, ids.shape);
  for (std::size_t i = 0; i < tokens.ids.span<std::int32_t>().size(); ++i)
    tokens.ids.span<std::int32_t>()[i] =
        static_cast<std::int32_t>(ids.view<std::int64_t, 2>().data[i]);
  RunOptions options;
  options.hidden_states = true;
  return model.run(tokens, options);
}

}  // namespace headscope::golden
