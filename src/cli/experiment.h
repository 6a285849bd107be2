#pragma once

#include <string>
#include <vector>

#include "cli/arguments.h"
#include "headscope/model.h"

/// Experiments that others can repeat: what was asked of which weights, and every figure.
namespace headscope::cli {

struct Experiment {
  std::string verb;                    ///< "doctor rank", "doctor patch"
  std::string model;                   ///< as it was named
  std::vector<std::string> arguments;  ///< without the model and --data
  std::string data;                    ///< contents of --data; "" : there was none
  std::string figures;                 ///< what the verb says with --json
};
/// Written whole or not at all, with the size and CRC-32 of the weights. Errors: kIo.
void save_experiment(const std::string& file, const Experiment& experiment, const Model& model);

}  // namespace headscope::cli
