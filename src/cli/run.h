#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/arguments.h"
#include "headscope/generate.h"
#include "headscope/model.h"

/// `headscope run`: what a model makes of a text: an answer, labels, an embedding, or its surprise.
namespace headscope::cli {

/// What was asked for besides the model and the text.
struct RunWishes {
  GenerateOptions generate;
  std::vector<std::string> stops;  ///< texts that end an answer
  std::string system;              ///< the first message of a talk; "" : none
  std::string language;            ///< of speech; "" : as it sounds
  bool translate = false;          ///< speech into English
  bool chat = false;
  bool truncate = false;  ///< a prompt that is too long loses its beginning
  bool window = false;    ///< the same, and the answer goes on when the context is full
  bool look = false;      ///< say where heads looked at every token
};

/// The answer to one prompt, streamed to standard output, or collected in `out` as JSON.
int answer(const Call& call,
           const Model& model,
           const std::string& prompt,
           const RunWishes& wishes,
           std::string& out);
/// What is said in a WAV file, streamed to standard output, or collected in `out` as JSON.
int hear(const Call& call,
         const Model& model,
         const std::string& path,
         const RunWishes& wishes,
         std::string& out);
/// Whether a file begins as sounds do: WAV, FLAC, Ogg, MP3 with a tag.
bool is_sound(const std::string& path);
/// A talk, line by line from standard input, until it ends or says /exit.
int talk(const Call& call, const Model& model, const RunWishes& wishes);

/// How --perplexity reads a text. Borrows the edits.
ForesightOptions foresight_options(const RunWishes& wishes);
/// What --perplexity prints, of words as of notes. Returns the exit status.
int tell_foresight(const Call& call, const Model& model, const Foresight& found, std::string& out);

/// Edits of a file: {"edits": [{"layer": 5, "head": 3, "kind": "zero"}, {..., "kind": "scale", "factor": 0.5}]},
/// or the list alone; kind is zero (also with "factor": 0), mean or scale. Errors: kFormat (also for a key that means nothing), kNotFound,
/// kInput, kIo.
std::vector<Edit> read_edits(const std::string& path);

}  // namespace headscope::cli
