#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <vector>

#include "doctor/regroup.h"

/// The mathematics of `regroup`, one layer at a time.
namespace headscope::doctor {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// The weights of one layer as [out, in] or, with a bias as the last column, [out, in + 1]; o [C, H Dv] likewise.
struct LayerWeights {
  Matrix q, k, v, o;
};

/// Sums over rows of what a layer makes of some texts.
struct Moments {
  Matrix values, keys;  ///< of products of all groups' numbers, [G Dv, G Dv] and [G D, G D]
  std::vector<Matrix>
      queries;  ///< of products of a query's numbers, all heads of a group together: [D, D]
};
Moments moments_of(const std::vector<Baseline>& runs, int layer);

/// The part of a sum of squares that is kept.
struct KeptPart {
  double part = 0.0, whole = 0.0;

  void add(const KeptPart& other) { part += other.part, whole += other.whole; }
  [[nodiscard]] double share() const { return whole > 0.0 ? part / whole : 1.0; }
};

/// Sets of `size` of the n numbers 0..n-1, one behind the other, so that the sum of `apart` over all pairs within a set is
/// small: from sets of neighbours on, two numbers change places as long as that helps. Each set rises, and so do their
/// first numbers. Shapes  apart [n,n], symmetric; n % size == 0.
std::vector<std::int64_t> arrange(const Matrix& apart, std::int64_t size);

struct MergeOptions {
  std::int64_t groups = 1;
  Merging how = Merging::kFitted;
  bool arranged =
      true;  ///< those that lose least by it are merged, heads going with their groups; else neighbours are
};
struct Merged {
  std::vector<std::int64_t> order;  ///< which old group came where
  /// As scores and output see it: keys weighed by the queries that meet them, values by the weights of `output`.
  KeptPart values, keys;
};
/// Changes the weights of a layer. Cost  eigenvectors of an m Dv x m Dv matrix a group; arranged G^2/2 of 2 Dv x 2 Dv.
Merged merge_groups(const AttentionWeights& w,
                    const Moments& moments,
                    const MergeOptions& options,
                    LayerWeights& weights);

}  // namespace headscope::doctor
