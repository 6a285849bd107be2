#pragma once

#include <cstdint>
#include <string>

#include "headscope/media.h"
#include "train/recipe.h"

/// What [model] and [code] of a recipe say, found out before anything is made of them.
namespace headscope::train {

/// The code of a recipe's tunes or tables. Errors: those of SequenceCode::parse; kFormat for a code
/// of another kind than the objective's, and for ids of start, end, rest or missing that are those of
/// elements or of each other.
SequenceCode code_of(const Recipe& recipe);

/// The config.json of a model of tokens of this code. Errors: those of config_with.
std::string config_of(const Recipe& recipe, const SequenceCode& code);

/// Builds the network of a recipe without weights. Returns the longest sequence that it reads, in
/// rows. Where the vocabulary is not known before a tokenizer is, that of [tokenizer] stands in.
/// Errors: all that a run would say of [model]; kUnsupported for a family that the objective cannot
/// train, naming those it can.
std::int64_t check_model(const Recipe& recipe);

/// Whether the heads that [teaching] names are in the model. Errors: kUsage.
void check_heads(const Recipe& recipe);

/// Where the files of a recipe are that a run reads, all of which must be there.
/// Errors: kNotFound, kInput (a folder in place of a file), naming the file and the key.
/// with_tokenizer  whether [tokenizer] is read, too.
void check_files(const Recipe& recipe, bool with_tokenizer);

}  // namespace headscope::train
