#pragma once

#include <map>
#include <string>
#include <vector>

#include "headscope/train.h"

/// The loss of a network in double precision, loop by loop from the blueprint: what the tape is compared with.
namespace headscope::train::testing {

/// Parameters by name.
using Numbers = std::map<std::string, std::vector<double>>;

class Reference {
 public:
  /// Errors: those of the blueprint.
  explicit Reference(const std::string& config);
  ~Reference();
  Reference(const Reference&) = delete;
  Reference& operator=(const Reference&) = delete;

  /// Loss::sum_nats.
  [[nodiscard]] double loss(const Numbers& parameters, const Batch& batch, double smoothing) const;
  /// Loss::taught_nats of the last call.
  [[nodiscard]] double taught() const;

 private:
  struct Facts;
  std::unique_ptr<Facts> facts_;
};

}  // namespace headscope::train::testing
