#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/arguments.h"

/// Experiments that others can repeat: what was asked of which weights, and every figure.
namespace headscope::cli {

/// What an experiment hands to `run` and `see` besides their options.
struct Setup {
  std::string input;  ///< the text itself
  std::vector<Edit> edits;
};

struct Experiment {
  std::string verb;   ///< "run", "see", "head", "doctor rank", ...
  std::string model;  ///< as it was named
  /// Options, without --data and those that name edits; the head of `head` as --head=3.5.
  std::vector<std::string> arguments;
  std::string data;            ///< contents of --data; "" : there was none
  std::string figures;         ///< what the verb says with --json, or a part of it
  std::optional<Setup> setup;  ///< of run and see
  bool treebank = false;       ///< data is CoNLL-U, and its trees are read
};
/// "269060552 bytes, crc32 1a2b3c4d" of all files of weights, in the order of their names. Cost: reads them. Errors: kNotFound.
std::string weights_of(const std::string& model);
/// Written whole or not at all, with the size and CRC-32 of the weights. Errors: kIo, kInput (text that is not UTF-8).
void save_experiment(const std::string& file, const Experiment& experiment);

}  // namespace headscope::cli
