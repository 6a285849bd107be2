#pragma once

#include <optional>
#include <vector>

#include "doctor/baseline.h"

/// Direct logit attribution: what every part of a model adds to the difference of two logits at the last token.
namespace headscope::doctor {

struct Attribution {
  std::vector<double> heads;   ///< in the order of heads_of
  std::vector<double> mlps;    ///< one a layer: all that joins the stream besides the heads
  std::vector<double> biases;  ///< one a layer: the bias of `output`
  double embedding = 0.0;
  double rest =
      0.0;  ///< what does not come from the stream: biases of the norm and of the map on top
  double difference =
      0.0;  ///< logit of right minus logit of wrong; the sum of all the above, to rounding
};

/// ((z_h W_O^h) g / sigma) . (W_U[right] - W_U[wrong]), g and sigma of the final norm in the unedited run.
/// Nothing for a model where heads do not simply add up to the stream that logits are read from (norms behind
/// attention, soft caps).  Cost  one row of `output` a layer.  Source  Elhage 2021; heads.md.
std::optional<Attribution> attribute(const Baseline& base, std::int32_t right, std::int32_t wrong);

}  // namespace headscope::doctor
