#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/arguments.h"
#include "formats/conllu.h"
#include "headscope/media.h"
#include "headscope/model.h"

/// What `see` and `walk` begin with: a model, a text, its tokens.
namespace headscope::cli {

/// How an input is to be read, where its content leaves it open.
struct InputWishes {
  std::string as;                    ///< "bytes", or "" : as it is
  std::vector<std::string> columns;  ///< of a table
  FrameChoice frames;                ///< of a video
  bool truncate = false;             ///< cut text and bytes that are too long, at the end
};

struct Subject {
  Subject(Model m, std::string t) : model(std::move(m)), text(std::move(t)) {}

  Model model;
  std::string text;
  Tokens tokens;
  std::vector<Label> labels;
  Scene scene;                           ///< when the input is no text
  std::vector<int> layers;               ///< attentions that it goes through; empty: all
  std::vector<std::string> unknown;      ///< words that became the unknown token
  std::int64_t tokens_before_cut = 0;    ///< 0: nothing was cut
  std::vector<std::string> remarks;      ///< what is to be said of how the input was read
  bool cut_said = false;                 ///< remarks tell what was cut
  std::optional<conllu::Sentence> tree;  ///< of a .conllu file, whose first sentence is the text
  std::string model_argument;
  std::string input_argument;
};

/// That a model of this name is there, wherever Model::load looks. Errors: kNotFound, with the built-in model that is
/// called almost so; those of models::find.
void check_model(const Call& call, const std::string& name);

/// That an input is missing behind the model, when it reads no text: what it reads then. Errors: kUsage;
/// those of check_model and Model::load.
void check_needs_text(const Call& call, const std::string& name);

/// `words` are MODEL and the input: text or a file that the model reads. Errors: kUsage with an example when one is
/// missing; those of Model::load and Model::tokens, with the way out where there is one; kInput for a file that the
/// model cannot read.
Subject prepare(const Call& call, std::span<const std::string> words, const InputWishes& wishes);

/// The same for a model and a text at hand.
Subject prepare(const Call& call,
                Model model,
                const std::string& model_argument,
                std::string text,
                bool truncate);

/// Heads of the layer that has fewest of the first `layers`, and of the one that has most.
std::pair<int, int> head_counts(const Model& model, int layers);
/// "12 heads", or "1-9 heads" where layers differ.
std::string counted_heads(Lang lang, int fewest, int most);

/// Errors: kRange naming the limits.
void check_layer(const Call& call, const Model& model, std::int64_t layer);
void check_head(const Call& call, const Model& model, HeadId id);
/// That the input goes through a layer: of two towers a picture passes one.
void check_passed(const Call& call, const Subject& subject, int layer);

}  // namespace headscope::cli
