#pragma once

#include <string>
#include <vector>

#include "cli/subject.h"

/// Inputs that are no text: pictures, videos, music, tables, bytes.
namespace headscope::cli {

/// Whether `words` behind the model name something that this model reads otherwise than as text; then `out` holds
/// its tokens, labels and scene. Errors: kInput for a file that the model cannot read (says what it is and what the
/// model reads), those of the readers.
bool prepare_other(const Call& call,
                   std::span<const std::string> words,
                   const InputWishes& wishes,
                   Subject& out);

/// That nothing is wished for which a text does not have: columns, frames. Errors: kUsage.
void check_wishes_of_text(const Call& call, const InputWishes& wishes);

/// What an input is called that a model does not read: "a picture".
Word word_of(MediaKind kind);
/// The same of words that name no ordinary file: a file that is not there, a folder, a pipe or a device, text.
Word word_of(std::span<const std::string> words);

/// Whether it reads words: it has a tokenizer.
bool reads_text(const Model& model);
/// What it reads when nothing else is asked for: "text", "a MIDI file".
Word word_of(const Model& model);

/// After a run: what the keys of layers are that look at parts of the pictures, or at a coarser grid.
void label_layers(const Model& model, const Tokens& tokens, Sighting& sighting);

}  // namespace headscope::cli
