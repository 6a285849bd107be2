#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace headscope {

/// How the next token is chosen. Neutral values leave a step out; the steps are those of
/// Transformers' generate, in its order.
struct SamplingOptions {
  /// 1. Logits of tokens in the prompt or the answer are divided by it when positive, multiplied
  /// when negative. 1: off.
  float repetition_penalty = 1.0F;
  /// 2. Taken off the logit of a token of the answer: for every time it came, and once.
  float frequency_penalty = 0.0F;
  float presence_penalty = 0.0F;
  /// 3. Logits are divided by it; 0 takes the largest logit (of equals the smallest id) at once.
  float temperature = 0.0F;
  std::int32_t top_k = 0;  ///< 4. the k largest, and those equal to the last of them; 0: all
  float top_p = 1.0F;      ///< 5. the fewest that together have this much; 1: all
  float min_p = 0.0F;      ///< 6. those with at least this share of the largest; 0: all
  std::uint64_t seed = 0;  ///< equal seeds draw equally, on every machine
};

/// A token that may come next.
struct Candidate {
  std::int32_t id = 0;
  double probability = 0.0;  ///< after all steps; those of all candidates sum to 1
};

/// Chooses tokens, one after the other. It remembers what came, for the penalties.
/// Cost    linear in the vocabulary, whatever the options; two floats of memory a logit.
/// Source  Holtzman 2019 (top-p); Nguyen 2024 (min-p); Keskar 2019 (repetition penalty).
class Sampler {
 public:
  /// Errors: kUsage for an option that is out of its range (names it).
  explicit Sampler(const SamplingOptions& options, std::span<const std::int32_t> prompt = {});

  /// The next token, which is remembered. Logits of -inf are never drawn.
  /// Errors: kInput for a logit that is NaN or +inf (names the token), or when none can be drawn.
  std::int32_t next(std::span<const float> logits);
  /// What next() would draw from, likeliest first (of equals the smallest id), at most `most`.
  [[nodiscard]] std::vector<Candidate> candidates(std::span<const float> logits,
                                                  std::size_t most = SIZE_MAX) const;
  /// Remembers a token of the answer that came from elsewhere.
  void accept(std::int32_t id);

 private:
  /// One of each token: its logit after penalties and temperature, and its weight, not yet divided
  /// by their sum; 0 for those that a step took out.
  struct Weights {
    std::vector<float> scores;
    std::vector<float> of;
    double sum = 0.0;
  };
  void penalise(std::span<const float> logits, std::vector<float>& out) const;
  void weigh(std::span<const float> logits, Weights& out) const;

  SamplingOptions options_;
  /// How often each token came in the answer; 0 for those of the prompt alone.
  std::unordered_map<std::int32_t, std::int32_t> seen_;
  std::uint64_t draws_ = 0;
  Weights scratch_;
};

/// Text that ends where one of some strings begins, for answers that stream: what may become a stop
/// string is held back until it is clear, and so is half a character.
class StopText {
 public:
  /// Errors: kUsage for a string that is empty or not UTF-8.
  explicit StopText(std::vector<std::string> stops);

  /// Takes a piece of the answer and gives what is sure to come before any stop string, in whole
  /// characters. Nothing more once stopped().
  /// Cost  O(bytes * stops).
  std::string push(std::string_view piece);
  /// The answer is over: what was held back.
  std::string finish();
  [[nodiscard]] bool stopped() const { return found_ != nullptr; }
  /// The string that was found first; of those that end together the longest. Only when stopped().
  [[nodiscard]] const std::string& found() const { return *found_; }

 private:
  struct Stop {
    std::string text;
    std::vector<std::size_t> back;  ///< where to go on after a mismatch (Knuth, Morris & Pratt)
    std::size_t matched = 0;
  };
  std::vector<Stop> stops_;
  std::string held_;
  const std::string* found_ = nullptr;
};

}  // namespace headscope
