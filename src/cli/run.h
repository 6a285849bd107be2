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
  bool surprise = false;  ///< find the log-probability of every token of an answer
};

/// The answer to one prompt: what --json prints. Without --json it is streamed to standard output as well.
std::string answer(const Call& call,
                   const Model& model,
                   const std::string& prompt,
                   const RunWishes& wishes);
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

struct Setup;
/// The verb once more: MODEL and options as they come, text and edits from an experiment.
int run_again(std::span<const std::string> arguments,
              Lang lang,
              std::string& out,
              const Setup& setup);

/// How --perplexity reads a text. Borrows the edits.
ForesightOptions foresight_options(const RunWishes& wishes);
/// What --perplexity prints with --json.
std::string foresight_json(const Model& model, const Foresight& found);
/// What it prints, of words as of notes. Returns the exit status.
int tell_foresight(const Call& call, const Model& model, const Foresight& found, std::string& out);

}  // namespace headscope::cli
