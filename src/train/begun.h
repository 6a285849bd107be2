#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "headscope/train.h"

namespace headscope::train {

/// A network of `config` that begins with the weights of another model of the same shape, as `from` of a recipe asks.
/// `tokenizer`: tokenizer.json of the run, "" where it reads no text. Where it differs from the other model's, weights
/// of tokens go by their texts, and tokens that the other one does not know begin by chance (`seed`).
/// Errors: kUsage for other shapes, other facts in config.json, or tokenizers that have no token in common.
Trainee begun_with(const std::filesystem::path& from,
                   const std::string& config,
                   const std::string& tokenizer,
                   std::uint64_t seed);

}  // namespace headscope::train
