#pragma once

#include <filesystem>
#include <span>

#include "doctor/baseline.h"

/// A few steps of training after heads or keys and values have gone.
namespace headscope::doctor {

struct HealOptions {
  std::int64_t steps = 30;
  std::int64_t tokens = 512;  ///< of a step
  std::int64_t length = 256;  ///< of a sequence, at most
  double learning_rate =
      1e-4;     ///< at its highest: rises over a tenth of the steps, falls to 0 as a cosine
  Told told{};  ///< may throw: then the folder is as it was
};

/// That `heal` can train models of this one's kind. Reads the weights once.
/// Errors: kUnsupported (a fact that training has no part for; a model that foretells nothing).
void check_healable(const Model& model);

/// Trains the model in `folder` on next tokens of `ids` from their beginning on (again and again when they end) by
/// AdamW without decay, and writes it back in the dtype of its matrices. Columns of `output` that are 0 for a whole head
/// stay 0: a head that is gone stays gone.
/// Cost  6 flop a token and parameter, 16 bytes a parameter.
/// Errors: kInput (fewer than two tokens), kUnsupported (a fact that training has no part for; a model that foretells
/// nothing), kIo; then the folder is as it was.
void heal(const std::filesystem::path& folder,
          std::span<const std::int32_t> ids,
          const HealOptions& options = {});

}  // namespace headscope::doctor
