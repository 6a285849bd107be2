#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "doctor/baseline.h"

/// Fewer keys and values for the same heads: multi-head to grouped-query attention.
namespace headscope::doctor {

/// How the keys and values of merged groups become one. Groups that lose least by it are merged, heads going with them,
/// where nothing but its weights says which head is which (no sinks, slopes or buckets of a head's own).
enum class Merging : std::uint8_t {
  kMean,  ///< the mean of their weights (Ainslie 2023)
  /// The principal part of what some texts make of them, as scores and output see it. Values of m groups side by side are
  /// v ~ P v', v' = R v of the width of one: R is the new value, W_O^h P_g the head's new output; what counts is
  /// |W_O (v - P v')|. Keys likewise where they do not turn; where they turn, each pair of numbers is a complex one and
  /// k_g ~ p_g k', which turns alike, is met by q' = conj(p_g) q; what counts is |q|^2 |k_g - p_g k'|^2. Each is the least
  /// squares of its kind (Eckart & Young 1936).
  kFitted,
};

struct Regrouped {
  std::int64_t before = 0;   ///< groups there were
  double values_kept = 0.0;  ///< share of the sum of squares on the texts, all layers together
  double keys_kept = 0.0;
  double loss_before = 0.0, loss_after = 0.0;  ///< nats, mean of the texts
  std::vector<std::size_t>
      judged;  ///< which those are: not fitted to, where there are two texts or more
  /// Of every layer, which old group came where: heads of the new model are those of old ones in this order.
  std::vector<std::vector<std::int64_t>> order;
  /// Whether heads have other numbers than before.
  [[nodiscard]] bool moved() const;
};

/// Writes the model with `groups` groups into `folder` (Hugging Face layout, num_key_value_heads changed, weights in the
/// dtype of the file; without roles.json when heads have moved), loads it and judges both. Of two texts and more each
/// fourth (of two or three the last) is kept back to judge by.
/// Shapes  H % groups == 0, G % groups == 0, groups < G.
/// Cost  two runs of each text; eigenvectors of an m Dv x m Dv matrix a group, of two groups for each pair of
/// them. Memory  one layer's matrices in f64.
/// Errors: kRange (groups that do not divide), kUnsupported (a family without num_key_value_heads, one whose queries, keys
/// and values are not three matrices [out,in]; kFitted with norms of keys; a model that foretells nothing), kIo.
Regrouped regroup(const Model& model,
                  std::span<const Tokens> texts,
                  std::int64_t groups,
                  Merging how,
                  const std::filesystem::path& folder,
                  const Told& told = {});

}  // namespace headscope::doctor
