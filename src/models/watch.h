#pragma once

#include <cstddef>
#include <vector>

#include "headscope/model.h"

namespace headscope::models {

/// Every layer that the options name is there. Errors: kRange, kUsage.
void check_layers(const RunOptions& options, std::size_t layers);

/// What the options of a run ask of each of its attentions: edits, a record, a trace.
class Watch {
 public:
  /// Makes room in `run` for what `layers` attentions will leave.
  Watch(const RunOptions& options, Run& run, std::size_t layers);
  /// Adds what is asked of attention `layer` to its call; edits stay here until the next one.
  void over(std::size_t layer, AttentionCall& call);

 private:
  const RunOptions& options_;
  Run& run_;
  std::vector<Edit> edits_;
};

}  // namespace headscope::models
