#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "headscope/audio.h"
#include "headscope/model.h"

namespace headscope {

/// How to write down what is said.
struct TranscribeOptions {
  std::string language;    ///< "en", "ru", ...; "": the one that the first window sounds like
  bool translate = false;  ///< into English
  std::int64_t most = 0;   ///< tokens of one window; 0: half of what fits, as these models were trained
  std::vector<Edit> edits;
  std::function<void(std::string_view)> on_text;  ///< gets the text as it becomes certain
};

/// What was said in one window of sound.
struct Utterance {
  double begin = 0.0, end = 0.0;  ///< seconds
  std::string text;
  std::vector<std::int32_t> ids;  ///< tokens of the text
};
struct Transcript {
  std::string text;
  std::string language;  ///< "" for a model of one language
  std::vector<Utterance> parts;
};

/// Sound to text, window by window; a longer sound is cut where it is quietest in the last sixth of a window.
/// Each window's text is the likeliest token by token.
/// Cost    for each 30 s one run of the encoder and a cached run of the decoder a token.
/// Errors  kUnsupported (a model that does not hear, or a tokenizer without Whisper's tokens), kUsage (a language
///         that it does not know, or a choice of a model of one language), kInput (no sound).
Transcript transcribe(const Model& model, const Audio& audio, const TranscribeOptions& options = {});

}  // namespace headscope
