#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/arguments.h"
#include "headscope/model.h"

/// What `see` and `walk` begin with: a model, a text, its tokens.
namespace headscope::cli {

struct Subject {
  Subject(Model m, std::string t) : model(std::move(m)), text(std::move(t)) {}

  Model model;
  std::string text;
  Tokens tokens;
  std::vector<Label> labels;
  std::vector<std::string> unknown;    ///< words that became the unknown token
  std::int64_t tokens_before_cut = 0;  ///< 0: nothing was cut
  std::string model_argument;
  std::string input_argument;
};

/// `words` are MODEL and the text. Errors: kUsage with an example when one is missing; those of
/// Model::load and Model::tokens, with the way out where there is one.
Subject prepare(const Call& call, std::span<const std::string> words, bool truncate);

/// The same for a model and a text at hand.
Subject prepare(const Call& call,
                Model model,
                const std::string& model_argument,
                std::string text,
                bool truncate);

/// Errors: kRange naming the limits.
void check_layer(const Call& call, const Model& model, std::int64_t layer);
void check_head(const Call& call, const Model& model, HeadId id);

}  // namespace headscope::cli
