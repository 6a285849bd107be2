#pragma once

#include <memory>
#include <string>

#include "tokenizers/tokenizer_parts.h"

namespace headscope::tokenizers {

/// The files of a Marian model as published, each as its bytes.
struct MarianFiles {
  std::string pieces;    ///< source.spm: what texts are cut into
  std::string ids;       ///< vocab.json: the ids of pieces of both languages
  std::string settings;  ///< tokenizer_config.json; "" : none
};

/// Texts are cut as libsentencepiece cuts them, and end in </s>; ids are vocab.json's. A token ">>fra<<" of the
/// vocabulary names the language that is asked for. The pieces of answers spell themselves, so that target.spm
/// is of no use. Errors: kFormat; kUnsupported (a model of another kind than Unigram, vocabularies apart).
std::unique_ptr<Tokenizer::Parts> make_marian(const MarianFiles& files);

}  // namespace headscope::tokenizers
