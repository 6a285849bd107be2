#pragma once

#include <string>
#include <vector>

#include "cli/run.h"
#include "headscope/media.h"

/// Models whose tokens are notes or numbers: `headscope run` lets a tune or a table go on.
namespace headscope::cli {

/// What media.json beside a model says; empty where there is none.
SequenceCode code_beside(const Model& model);

/// What was asked for besides RunWishes.
struct GoOnWishes {
  std::string output;                ///< .mid (.midi) or .csv to write; "" : none
  std::vector<std::string> columns;  ///< of a table
  bool tokens_given = false, temperature_given = false, perplexity = false;
};

/// A tune (MIDI file) that goes on, or the next rows of a table (CSV) with a check on rows held back.
/// Errors: kInput for another kind of file, kUsage, those of the readers.
int go_on(const Call& call,
          const Model& model,
          const SequenceCode& code,
          const std::string& path,
          RunWishes wishes,
          const GoOnWishes& more,
          std::string& out);

}  // namespace headscope::cli
