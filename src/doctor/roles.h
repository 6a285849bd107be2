#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "doctor/measures.h"

/// What every head of a model does on some texts: scores with their baselines, and labels where a score stands out.
namespace headscope::doctor {

enum class Measure : std::uint8_t {
  kPrevious,   ///< weight on the token before, rows >= 1
  kNext,       ///< weight on the token after (heads that see it)
  kSelf,       ///< weight on itself
  kFirst,      ///< weight on the first token, rows >= 1: a sink, [CLS]
  kLast,       ///< weight on the last token, where that is special: [SEP]
  kPosition,   ///< share of rows whose largest weight lies at the head's favourite offset
  kDuplicate,  ///< weight on other places of the same token, rows that have one
  kInduction,  ///< random tokens twice: weight on the token behind the same one in the first copy
  kRare,       ///< share of rows whose largest weight lies on a rarest token of the text
  kBroad,      ///< entropy in nats
  kSure,       ///< mean of the largest weight of a row
  kDistance,   ///< mean distance in tokens
  kCopying,    ///< Re(sum of eigenvalues) / sum of sizes of W_V W_O
};
inline constexpr std::size_t kMeasures = 13;

struct MeasureFacts {
  Measure measure;
  std::string_view name;  ///< in JSON
  double least;           ///< a label needs so much; infinite: there is no label
  double above;           ///< and so much more than the baseline, where there is one
};
/// In the order of Measure. Why those limits: half of a row's weight is more than all else together; largest weights at
/// one offset in 90 % of rows (Voita 2019); entropy above 3.8 nats (Clark 2019).
extern const std::array<MeasureFacts, kMeasures> kMeasureFacts;
/// A label needs so many rows. Of `copying`, which is read off the weights, n is 1 and none are needed.
inline constexpr std::int64_t kFewRows = 10;
/// Whether evenly spread weights are something to compare with: masses, and largest weights on marked tokens.
constexpr bool has_baseline(Measure m) {
  return m != Measure::kPosition && m != Measure::kBroad && m != Measure::kSure &&
         m != Measure::kDistance && m != Measure::kCopying;
}

struct Score {
  double score = std::numeric_limits<double>::quiet_NaN();  ///< NaN: there was nothing to measure
  /// What evenly spread weights would get; NaN: that says nothing (has_baseline).
  double baseline = std::numeric_limits<double>::quiet_NaN();
  std::int64_t n = 0;  ///< rows
  bool label = false;
};

struct HeadRoles {
  HeadId id;
  std::array<Score, kMeasures> scores;
  std::int64_t offset = 0;  ///< the favourite one, of kPosition
  [[nodiscard]] const Score& of(Measure m) const { return scores[static_cast<std::size_t>(m)]; }
};

struct RolesOptions {
  std::int64_t repeated = 50;  ///< s random tokens said twice; 0: no induction
  int repeats = 4;             ///< sequences of them
  std::uint64_t seed = 1;
  bool circuits = true;  ///< copying, from the weights
};

/// Scores over all rows of all texts (each one sequence), in the order of heads_of.
/// Cost  a run of each text and of each repeat with q and k kept, one layer at a time where the model resumes.
/// Errors: those of Model::run; kInput without a text.
std::vector<HeadRoles> roles(const Model& model,
                             std::span<const Tokens> texts,
                             const RolesOptions& options = {},
                             const Told& told = {});

/// Whether a token is one that the tokenizer adds, or none at all.
bool is_special(const Model& model, std::int32_t id);

/// Random tokens of the vocabulary that are not special, all different, said twice.
Tokens repeated_tokens(const Model& model, std::int64_t s, std::uint64_t seed);

}  // namespace headscope::doctor
