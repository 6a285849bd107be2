#include "models/towers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "models/biases.h"
#include "models/pointwise.h"

namespace headscope::models {

namespace {

// Options of one tower: layers, edits and traces from `first` on count from 0 there.
RunOptions options_of(const RunOptions& options, std::size_t first, std::size_t count) {
  const auto inside = [&](int layer) {
    return layer >= static_cast<int>(first) && layer < static_cast<int>(first + count);
  };
  RunOptions own;
  own.sight = options.sight;
  own.outputs = options.outputs;
  own.hidden_states = options.hidden_states;
  for (const int layer : options.layers) {
    if (inside(layer)) own.layers.push_back(layer - static_cast<int>(first));
  }
  if (!options.layers.empty() && own.layers.empty()) own.sight = nullptr;
  for (const Edit& edit : options.edits) {
    if (!inside(edit.layer)) continue;
    own.edits.push_back(edit);
    own.edits.back().layer -= static_cast<int>(first);
  }
  for (const int layer : options.trace_layers) {
    if (inside(layer)) own.trace_layers.push_back(layer - static_cast<int>(first));
  }
  return own;
}

std::int64_t pooled_row(const TextBlueprint& facts, View<const std::int32_t, 1> ids) {
  const std::int64_t T = ids.shape[0];
  if (facts.pool == TextBlueprint::Pool::kLast) return T - 1;
  std::int64_t best = 0;
  for (std::int64_t i = 0; i < T; ++i) {
    if (facts.pool == TextBlueprint::Pool::kFirstEos && ids(i) == facts.eos) return i;
    if (ids(i) > ids(best)) best = i;
  }
  return facts.pool == TextBlueprint::Pool::kLargestId ? best : 0;
}

float single(const Weights& weights, const std::string& name) {
  const Tensor one = weights.numbers(name, std::array{std::int64_t{1}});
  if (std::isfinite(one.span<float>()[0])) return one.span<float>()[0];
  throw Error(ErrorCode::kFormat,
              fmt::format("[{}] expected {} to be finite, found {}",
                          weights.tensors().file,
                          name,
                          one.span<float>()[0]));
}

}  // namespace

TextTower::TextTower(TextBlueprint facts, Tensors tensors)
    : facts_(std::move(facts)), transformer_(facts_.body, tensors, "") {
  const Weights weights(std::move(tensors), facts_.body.prefixes, Linear::Layout::kOutIn);
  const std::int64_t C = facts_.body.width;
  if (!facts_.head.empty()) {
    expect_bias(weights, facts_.head);
    head_.emplace(weights.linear(facts_.head, C, facts_.head_width));
  }
  if (!facts_.projection.empty() && weights.find(facts_.projection + ".weight") != nullptr)
    projection_.emplace(weights.linear(facts_.projection, C, facts_.projection_width));
}

Run TextTower::run(const Tokens& tokens, const RunOptions& options) const {
  Run run = transformer_.run(tokens, options);
  if (!options.outputs) return run;
  const auto ids = tokens.ids.view<std::int32_t, 2>();
  const auto x = std::as_const(run.last_hidden_state).view<float, 3>();
  Tensor rows(DType::kF32, {x.shape[0], x.shape[2]});
  for (std::int64_t b = 0; b < x.shape[0]; ++b) {
    std::copy_n(&x(b, pooled_row(facts_, ids[b]), 0),
                x.shape[2],
                rows.span<float>().begin() + b * x.shape[2]);
  }
  const auto mapped = [&](const Linear& map) {
    Tensor out(DType::kF32, {rows.dim(0), map.out()});
    map(rows_of(std::as_const(rows)), rows_of(out));
    return out;
  };
  if (projection_) run.more.emplace("text_embeds", mapped(*projection_));
  run.pooler_output = head_ ? mapped(*head_) : std::move(rows);
  return run;
}

Towers::Towers(TowersBlueprint facts, Tensors tensors)
    : facts_(std::move(facts)),
      body_(facts_.text.body),
      text_(facts_.text, tensors),
      vision_(facts_.vision, tensors) {
  const Weights weights(std::move(tensors), {}, Linear::Layout::kOutIn);
  scale_ = std::exp(single(weights, "logit_scale"));
  if (facts_.biased) bias_ = single(weights, "logit_bias");
}

const AttentionFacts& Towers::facts(std::size_t layer) const {
  return layer < text_.layers() ? text_.facts(layer) : vision_.facts(layer - text_.layers());
}
const AttentionWeights& Towers::attention(std::size_t layer) const {
  return layer < text_.layers() ? text_.attention(layer)
                                : vision_.attention(layer - text_.layers());
}
Tensor Towers::output_weight(std::size_t layer) const {
  return layer < text_.layers() ? text_.output_weight(layer)
                                : vision_.output_weight(layer - text_.layers());
}
Tensor Towers::output_bias(std::size_t layer) const {
  return layer < text_.layers() ? text_.output_bias(layer)
                                : vision_.output_bias(layer - text_.layers());
}
KvCache Towers::cache(DType dtype, std::int64_t positions) const {
  return vision_.cache(dtype, positions);
}

std::string Towers::attention_name(std::size_t layer) const {
  return layer < text_.layers() ? "text." + text_.attention_name(layer)
                                : "vision." + vision_.attention_name(layer - text_.layers());
}
std::string Towers::layer_name(std::size_t layer) const {
  return layer < text_.layers() ? "text " + text_.layer_name(layer)
                                : "vision " + vision_.layer_name(layer - text_.layers());
}
std::vector<Label> Towers::labels(const Tokens& tokens, std::size_t layer, std::int64_t b) const {
  if (layer < text_.layers()) return {};
  Tokens pictures;
  pictures.pixels = tokens.pixels.clone();
  return vision_.labels(pictures, layer - text_.layers(), b);
}

namespace {

// What a tower gave, under its own names, and its records and traces in their places.
void join(Run from,
          const std::string& tower,
          const RunOptions& options,
          std::size_t first,
          std::size_t count,
          Run& to) {
  for (std::size_t n = 0; n < from.hidden_states.size(); ++n)
    to.more.emplace(fmt::format("{}.hidden_states.{}", tower, n), std::move(from.hidden_states[n]));
  to.more.emplace(tower + ".last_hidden_state", std::move(from.last_hidden_state));
  if (!from.pooler_output.empty())
    to.more.emplace(tower + ".pooler_output", std::move(from.pooler_output));
  for (std::size_t n = 0; n < from.sighting.layers.size(); ++n)
    to.sighting.layers[first + n] = std::move(from.sighting.layers[n]);
  std::size_t next = 0;
  for (std::size_t n = 0; n < options.trace_layers.size(); ++n) {
    const auto layer = static_cast<std::size_t>(options.trace_layers[n]);
    if (layer >= first && layer < first + count && next < from.traces.size())
      to.traces[n] = std::move(from.traces[next++]);
  }
}

// The vector that stands for a picture or a text: the projection, or pooler_output where there is none.
Tensor embedding(Run& run, const std::string& name, bool projected_pooler) {
  const auto projected = run.more.find(name);
  if (projected == run.more.end())
    return run.pooler_output.empty() ? Tensor() : unit_rows(run.pooler_output);
  Tensor unit = unit_rows(projected->second);
  if (projected_pooler) run.pooler_output = std::move(projected->second);
  return unit;
}

}  // namespace

Run Towers::run(const Tokens& tokens, const RunOptions& options) const {
  check_layers(options, layers());
  if (tokens.ids.empty() && tokens.pixels.empty())
    throw Error(ErrorCode::kInput, "[tokens] expected ids, pixels or both, found none");
  if (!options.caches.empty()) (void)cache(DType::kF32, 0);  // says that there is none
  Run run;
  if (options.sight != nullptr) run.sighting.layers.resize(layers());
  run.traces.resize(options.trace_layers.size());
  Tensor text, image;
  if (!tokens.ids.empty()) {
    Tokens words;
    words.ids = tokens.ids.clone();
    words.attention_mask = tokens.attention_mask.clone();
    words.position_ids = tokens.position_ids.clone();
    Run own = text_.run(words, options_of(options, 0, text_.layers()));
    text = embedding(own, "text_embeds", facts_.projected_poolers);
    join(std::move(own), "text", options, 0, text_.layers(), run);
  }
  if (!tokens.pixels.empty()) {
    Tokens pictures;
    pictures.pixels = tokens.pixels.clone();
    Run own = vision_.run(pictures, options_of(options, text_.layers(), vision_.layers()));
    image = embedding(own, "image_embeds", facts_.projected_poolers);
    join(std::move(own), "vision", options, text_.layers(), vision_.layers(), run);
  }
  if (!text.empty() && !image.empty()) {
    Tensor by_text(DType::kF32, {text.dim(0), image.dim(0)});
    Tensor by_image(DType::kF32, {image.dim(0), text.dim(0)});
    for (std::int64_t t = 0; t < text.dim(0); ++t) {
      for (std::int64_t i = 0; i < image.dim(0); ++i) {
        double sum = 0.0;
        for (std::int64_t c = 0; c < text.dim(1); ++c) {
          sum += static_cast<double>(text.view<float, 2>()(t, c)) *
                 static_cast<double>(image.view<float, 2>()(i, c));
        }
        const double score = sum * static_cast<double>(scale_) + static_cast<double>(bias_);
        by_text.view<float, 2>()(t, i) = by_image.view<float, 2>()(i, t) =
            static_cast<float>(score);
      }
    }
    run.more.emplace("logits_per_text", std::move(by_text));
    run.more.emplace("logits_per_image", std::move(by_image));
  }
  if (!text.empty()) run.more.emplace("text_embeds", std::move(text));
  if (!image.empty()) run.more.emplace("image_embeds", std::move(image));
  return run;
}

}  // namespace headscope::models
