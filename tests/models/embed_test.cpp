#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "models/tiny_decoder.h"
#include "models/tiny_pair.h"
#include "models/tiny_words.h"

namespace headscope {
namespace {

using test::TinyDecoder;
using test::TinyPair;

// Words w0, w1, ... are the tokens.
Model with_words(const Scratch& folder, int vocabulary) {
  return Model::load(test::with_words(folder, vocabulary));
}

// Texts of 1 to `longest` words, many of them of equal length.
std::vector<std::string> texts_of(std::size_t n, int longest, const std::string& letter) {
  std::vector<std::string> out;
  std::uint32_t state = 9;
  const auto next = [&state] { return (state = state * 1664525U + 1013904223U) >> 16; };
  for (std::size_t i = 0; i < n; ++i) {
    std::string text;
    for (auto left = 1 + static_cast<int>(next()) % longest; left > 0; --left)
      text += (text.empty() ? "" : " ") + letter + std::to_string(next() % 30);
    out.push_back(text);
  }
  return out;
}

void expect_alone(const Model& model, const std::vector<std::string>& texts) {
  const Tensor found = model.embed(texts);
  ASSERT_EQ(found.shape(), (Shape{static_cast<std::int64_t>(texts.size()), model.width()}));
  for (std::size_t n = 0; n < texts.size(); ++n) {
    const Tokens tokens = model.tokens(texts[n]);
    const Tensor alone = model.embedding(model.run(tokens), tokens.attention_mask);
    const auto C = static_cast<std::size_t>(model.width());
    for (std::size_t c = 0; c < C; ++c)
      EXPECT_NEAR(found.span<float>()[n * C + c], alone.span<float>()[c], 1e-5F) << texts[n];
  }
}

TEST(Embed, ManyTextsGiveWhatEachGivesAlone) {
  const Model planted = Model::load("planted");  // learned positions, packed
  std::vector<std::string> kings = {"king", "The old king gave the young prince a sharp sword"};
  for (int n = 0; n < 70; ++n)
    kings.push_back(kings[1].substr(0, 8 + static_cast<std::size_t>(n) % 40));
  expect_alone(planted, kings);
  const TinyDecoder llama;  // causal, rotary, packed
  expect_alone(with_words(llama.folder(), 40), texts_of(60, 50, "w"));
  for (const auto kind : {TinyPair::Kind::kT5, TinyPair::Kind::kBart}) {  // by length
    const TinyPair pair(kind);
    expect_alone(with_words(pair.folder(), 30), texts_of(40, 12, "w"));
  }
}

TEST(Embed, TooLongOrEmptyTextsAreRefused) {
  const TinyDecoder llama;
  const Model model = with_words(llama.folder(), 40);
  std::vector<std::string> texts = texts_of(2, 5, "w");
  texts.emplace_back("");
  EXPECT_THROW((void)model.embed(texts), Error);
  texts.back().clear();
  for (int n = 0; n < 70; ++n) texts.back() += "w1 ";
  EXPECT_THROW((void)model.embed(texts), Error);
  EXPECT_EQ(model.embed(texts, true).dim(0), 3);
  EXPECT_EQ(model.embed({}).dim(0), 0);
}

TEST(Embed, SequencesSideBySideAreChecked) {
  const TinyDecoder llama;
  const Model model = llama.load();
  const auto run = [&](std::vector<std::int32_t> cu, RunOptions options = {}, bool mask = false) {
    Tokens tokens;
    tokens.ids = Tensor::zeros(DType::kI32, {1, 6});
    if (mask) tokens.attention_mask = Tensor::zeros(DType::kU8, {1, 6});
    tokens.cu_seqlens = Tensor(DType::kI32, {static_cast<std::int64_t>(cu.size())});
    std::ranges::copy(cu, tokens.cu_seqlens.span<std::int32_t>().begin());
    return model.run(tokens, options);
  };
  EXPECT_FALSE(run({0, 2, 6}).last_hidden_state.empty());
  EXPECT_TRUE(run({0, 2, 6}).logits.empty());
  for (const auto& cu : std::vector<std::vector<std::int32_t>>{
           {0}, {0, 5}, {1, 6}, {0, 3, 3, 6}, {0, 4, 2, 6}, {0, -1, 6}, {0, 7, 6}})
    EXPECT_THROW((void)run(cu), Error);
  EXPECT_THROW((void)run({0, 6}, {}, true), Error);
  const Sight sight;
  RunOptions seen;
  seen.sight = &sight;
  EXPECT_THROW((void)run({0, 6}, seen), Error);
}

}  // namespace
}  // namespace headscope
