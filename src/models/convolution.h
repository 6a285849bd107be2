#pragma once

#include <vector>

#include "models/weights.h"

namespace headscope::models {

/// A convolution over tokens, as many of them (or 1/stride) as before: y_t = b + sum_k W_k x_(t*stride + k - K/2),
/// zeros beyond both ends. One matrix product over rows of K neighbours.
class Convolution {
 public:
  struct Facts {
    std::string name;
    std::int64_t in = 0, out = 0;
    std::int64_t kernel = 3;  ///< K, odd
    std::int64_t stride = 1;
    std::int64_t groups = 1;  ///< channels are cut into so many parts that do not see each other
  };
  /// `name`.weight [out,in/groups,K] and, where there is one, `name`.bias [out].
  Convolution(Weights& weights, const Facts& facts);

  /// Shapes  x [B,T,in] -> [B,ceil(T/stride),out].
  [[nodiscard]] Tensor operator()(const Tensor& x) const;

 private:
  Facts facts_;
  std::vector<Linear> maps_;  // one a group
};

}  // namespace headscope::models
