#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "doctor/baseline.h"
#include "headscope/sighting.h"

/// What a head looks at, read off what focus recorded of it. No map of T x T weights is ever made.
namespace headscope::doctor {

/// Means over the rows of one head; A are its weights, rows are all rows, special tokens included.
struct Summary {
  double entropy = 0.0;              ///< nats
  double confidence = 0.0;           ///< mean of the largest weight of a row
  double distance_mean = 0.0;        ///< tokens
  double distance_var = 0.0;         ///< tokens^2, over all rows together
  double distance_var_within = 0.0;  ///< tokens^2, mean of the variance inside a row
  double first_mass = 0.0;           ///< on the first token, rows >= 1
  double previous_mass = 0.0;        ///< on the token before, rows >= 1
  double self_mass = 0.0;
  double next_mass = 0.0;  ///< on the token after, rows <= T-2
  double last_mass = 0.0;  ///< on the last token ([SEP])
  double same_mass = 0.0;  ///< on other places of the same word, rows of words that are repeated
  std::int64_t same_rows = 0;                ///< those rows
  std::optional<double> entropy_normalised;  ///< causal: mean over rows >= 1 of entropy / ln(row+1)
};

/// Of one head; same_mass is left to those who know words. Cost  O(T D). Errors: kUsage when q and k were not kept.
Summary summarise(const FocusRecord& record, int head);

/// The weight of one key in one row. Cost O(D).
double weight_of(const FocusRecord& record, int head, std::int64_t row, std::int64_t key);

/// A mean over rows of something that lies between 0 and 1, and what evenly spread weights would get.
struct Tally {
  double sum = 0.0;
  double even = 0.0;
  std::int64_t n = 0;
  void add(double x, double baseline) { sum += x, even += baseline, ++n; }
  void add(const Tally& other) { sum += other.sum, even += other.even, n += other.n; }
};

/// Duplicate token: over rows whose token came before (of heads that see both ways: is there again), the weight on
/// those places.  Source  IOI (Wang 2022); heads.md.
Tally duplicates(const FocusRecord& record, int head, std::span<const std::int32_t> ids);
/// Weight at `offset` from the row, over rows [first, end) where that key is there.
/// Induction on s tokens said twice, b before them: rows [b+s, b+2s), offset 1 - s (Olsson 2022); the same rows at
/// offset -s are the duplicate token measure of goldens.
Tally at_offset(
    const FocusRecord& record, int head, std::int64_t offset, std::int64_t first, std::int64_t end);
/// Rows whose largest weight lies `offset` away, by offset: counts for -(T-1) .. T-1, and rows that have such a key.
struct Offsets {
  std::vector<std::int64_t> hits, rows;  ///< [2T-1], offset + T - 1
};
Offsets offsets(const FocusRecord& record, int head);
/// Rows whose largest weight lies on a token that is marked; baseline: their share of what the row sees.
Tally largest_on(const FocusRecord& record, int head, std::span<const std::uint8_t> marked);

/// Copying: Re(sum of eigenvalues) / sum of their sizes, of what a head reads and writes, W_V W_O. 1: what it attends
/// to is written as it is; -1: it is taken away. Empty where values are not a linear map of x (latent, clipped).
/// Cost  O(Dv^3 + C Dv^2) a head.  Source  Elhage 2021.
std::vector<std::optional<double>> copying(const Model& model, int layer);

}  // namespace headscope::doctor
