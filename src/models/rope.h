#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/json.h"
#include "headscope/split.h"

namespace headscope::models {

/// Rotary positions as config.json describes them. Some kinds depend on the length of the sequence.
/// Source  Su 2021; dynamic: bloc97 2023; YaRN: Peng 2023 s3; LongRoPE: Ding 2024; llama3: Dubey 2024.
struct Rope {
  enum class Kind : std::uint8_t { kDefault, kLinear, kDynamic, kYarn, kLongRope, kLlama3 };
  Rotary::Style style = Rotary::Style::kNone;
  Kind kind = Kind::kDefault;
  std::int64_t width = 0;  ///< numbers of a head that turn
  double base = 10000.0;
  double factor = 1.0;
  double original = 0.0;  ///< positions that the model was first trained for
  double beta_fast = 32.0, beta_slow = 1.0;
  bool truncate = true;
  double low_frequency = 1.0, high_frequency = 4.0;
  double attention_factor = 1.0;  ///< of cos and sin
  std::vector<double> short_factors, long_factors;

  /// Whether `at` gives something else for another length.
  [[nodiscard]] bool depends_on_length() const {
    return kind == Kind::kDynamic || kind == Kind::kLongRope;
  }
  /// Frequencies for a sequence of so many tokens.
  [[nodiscard]] Rotary at(std::int64_t length) const;
};

/// What a family says about its rotary positions beyond config.json.
struct RopeDefaults {
  Rotary::Style style = Rotary::Style::kNeox;
  double base = 10000.0;
  double partial = 1.0;         ///< share of a head that turns
  std::string layer_type = {};  ///< "full_attention": which entry where there is one for each
  std::string base_word = "rope_theta";  ///< where old files keep the base
  bool scaled = true;                    ///< old files' rope_scaling concerns these layers
};

/// Rope of heads `head` wide: new words (`rope_parameters`, also for each layer type) or old ones
/// (`rope_theta`, `rope_scaling` with `type` or `rope_type`, `partial_rotary_factor`).
/// Errors: kFormat, kUnsupported (a kind that is not known: names those that are).
Rope read_rope(const json::Value& config, std::int64_t head, const RopeDefaults& defaults = {});

/// DeepSeek's factor of scores under YaRN: (0.1 mscale_all_dim ln(factor) + 1)^2.
double yarn_score_factor(const json::Value& config);

}  // namespace headscope::models
