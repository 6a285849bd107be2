// Encoder-decoders: what is said step by step is what is said at once, and every head is seen and edited.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>

#include "models/tiny_pair.h"

namespace headscope {
namespace {

using test::TinyPair;
using Kind = TinyPair::Kind;

Tensor ids(std::vector<std::int32_t> numbers, std::int64_t rows = 1) {
  const auto all = static_cast<std::int64_t>(numbers.size());
  Tensor t(DType::kI32, {rows, all / rows});
  std::ranges::copy(numbers, t.span<std::int32_t>().begin());
  return t;
}

Tensor features(std::int64_t B, std::int64_t frames, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> number;
  Tensor t(DType::kF32, {B, 5, frames});
  for (float& x : t.span<float>()) x = number(random);
  return t;
}

// An input of one sequence for a model of this kind.
Tokens input(Kind kind) {
  Tokens t;
  if (kind == Kind::kWhisper)
    t.features = features(1, 15, 4);
  else
    t.ids = ids({4, 9, 17, 22, 8, 1, 13});
  return t;
}

double worst(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double most = 0.0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    most = std::max(most, std::abs(double{a[i]} - double{b[i]}));
  return most;
}

constexpr Kind kKinds[] = {Kind::kT5, Kind::kBart, Kind::kWhisper};
constexpr double kNear = 2e-5;  // logits are about 10 large

// Of a class whose head is not known the network below it can be looked at.
TEST(EncoderDecoder, NamesMayBeginWithTheTransformer) {
  const TinyPair made(Kind::kT5, {{"architectures", {"T5ForSequenceClassification"}}});
  const headscope::Run plain = made.load().run(input(Kind::kT5));
  const auto weights = made.folder() / "model.safetensors";
  std::map<std::string, Tensor> kept;
  {
    const Safetensors file = Safetensors::open(weights);
    for (const auto& [name, view] : file.tensors())
      kept.emplace("transformer." + name, Tensor::copy_of(view));
  }
  std::map<std::string, AnyView, std::less<>> views;
  for (const auto& [name, tensor] : kept) views.emplace(name, tensor.any());
  write_safetensors(weights, views);
  const headscope::Run run = made.load().run(input(Kind::kT5));
  EXPECT_EQ(worst(run.last_hidden_state.span<float>(), plain.last_hidden_state.span<float>()), 0.0);
}

TEST(EncoderDecoder, SaysStepByStepWhatItSaysAtOnce) {
  const std::vector<std::int32_t> said{2, 7, 11, 3, 25, 16, 9};
  for (const Kind kind : kKinds) {
    const TinyPair made(kind);
    const Model model = made.load();
    Tokens all = input(kind);
    all.decoder_ids = ids(said);
    const headscope::Run whole = model.run(all);
    const auto V = static_cast<std::size_t>(model.vocabulary());
    ASSERT_EQ(whole.logits.shape(), (Shape{1, 7, 30}));

    KvCache cache = model.cache();
    EXPECT_EQ(cache.memory(), nullptr);
    RunOptions options;
    options.caches = {&cache};
    Tokens first = input(kind);
    first.decoder_ids = ids({said.begin(), said.begin() + 3});
    std::vector<float> logits;
    const auto take = [&](const headscope::Run& run) {
      logits.insert(logits.end(), run.logits.span<float>().begin(), run.logits.span<float>().end());
    };
    take(model.run(first, options));
    ASSERT_NE(cache.memory(), nullptr);
    EXPECT_EQ(cache.memory()->length(), kind == Kind::kWhisper ? 8 : 7);
    for (std::size_t n = 3; n < said.size(); ++n) {
      Tokens next;
      next.decoder_ids = ids({said[n]});
      take(model.run(next, options));
    }
    EXPECT_EQ(cache.length(), 7);
    ASSERT_EQ(logits.size(), 7 * V);
    EXPECT_LE(worst(logits, whole.logits.span<float>()), kNear) << static_cast<int>(kind);
  }
}

TEST(EncoderDecoder, PaddingOfEitherSideChangesNothing) {
  for (const Kind kind : {Kind::kT5, Kind::kBart}) {
    const TinyPair made(kind);
    const Model model = made.load();
    Tokens both;
    both.ids = ids({4, 9, 17, 22, 8, 5, 13, 3, 1, 1}, 2);
    both.attention_mask = Tensor(DType::kU8, {2, 5});
    std::ranges::copy(std::vector<std::uint8_t>{1, 1, 1, 1, 1, 1, 1, 1, 0, 0},
                      both.attention_mask.span<std::uint8_t>().begin());
    both.decoder_ids = ids({2, 7, 11, 2, 6, 1}, 2);
    both.decoder_mask = Tensor(DType::kU8, {2, 3});
    std::ranges::copy(std::vector<std::uint8_t>{1, 1, 1, 1, 1, 0},
                      both.decoder_mask.span<std::uint8_t>().begin());
    const headscope::Run together = model.run(both);
    Tokens alone;
    alone.ids = ids({5, 13, 3});
    alone.decoder_ids = ids({2, 6});
    const headscope::Run apart = model.run(alone);
    const auto rows = together.logits.span<float>().subspan(3 * 30, 2 * 30);
    EXPECT_LE(worst(rows, apart.logits.span<float>()), kNear);

    // The same with caches: each sequence has its own memory, without the padding.
    KvCache one = model.cache();
    KvCache two = model.cache();
    RunOptions options;
    options.caches = {&one, &two};
    const headscope::Run cached = model.run(both, options);
    EXPECT_EQ(one.memory()->length(), 5);
    EXPECT_EQ(two.memory()->length(), 3);
    EXPECT_EQ(two.length(), 2);
    const auto again = cached.logits.span<float>();
    EXPECT_LE(worst(again.subspan(0, 90), together.logits.span<float>().subspan(0, 90)), kNear);
    EXPECT_LE(worst(again.subspan(90, 60), rows), kNear);
    Tokens next;
    next.decoder_ids = ids({8, 9}, 2);
    const headscope::Run last = model.run(next, options);
    alone.decoder_ids = ids({2, 6, 9});
    const headscope::Run longer = model.run(alone);
    EXPECT_LE(worst(last.logits.span<float>().subspan(30), longer.logits.span<float>().subspan(60)),
              kNear);
  }
}

TEST(EncoderDecoder, WithoutADecoderItBeginsAsItAlwaysDoes) {
  const TinyPair made(Kind::kBart);
  const Model model = made.load();
  Tokens bare = input(Kind::kBart);
  const headscope::Run run = model.run(bare);
  bare.decoder_ids = ids({2});
  EXPECT_EQ(worst(run.logits.span<float>(), model.run(bare).logits.span<float>()), 0.0);
}

TEST(EncoderDecoder, AttentionsAreNumberedEncoderDecoderCross) {
  for (const Kind kind : kKinds) {
    const TinyPair made(kind);
    const Model model = made.load();
    EXPECT_EQ(model.layers(), 8);
    EXPECT_EQ(model.encoder_layers(), 2);
    EXPECT_EQ(model.decoder_layers(), 3);
    EXPECT_EQ(model.layer_name(1), "encoder 1");
    EXPECT_EQ(model.layer_name(2), "decoder 0");
    EXPECT_EQ(model.layer_name(7), "cross 2");
    EXPECT_THROW((void)model.layer_name(8), Error);
    EXPECT_EQ(model.heads(0), kind == Kind::kT5 ? 4 : 2);
    EXPECT_EQ(model.heads(7), 4);
    Tokens t = input(kind);
    t.decoder_ids = ids({2, 7, 11});
    const Sight sight = Sight::everything();
    RunOptions options;
    options.sight = &sight;
    headscope::Run run = model.run(t, options);
    const std::int64_t heard = kind == Kind::kWhisper ? 8 : 7;
    ASSERT_EQ(run.sighting.layers.size(), 8U);
    for (std::size_t n = 0; n < 8; ++n) {
      EXPECT_EQ(run.sighting.layers[n].rows, n < 2 ? heard : 3) << n;
      EXPECT_EQ(run.sighting.layers[n].keys, n < 2 || n >= 5 ? heard : 3) << n;
    }
    // One layer of each kind alone, and a run of the encoder's that asks for none of the decoder's.
    options.layers = {1, 6};
    run = model.run(t, options);
    for (std::size_t n = 0; n < 8; ++n)
      EXPECT_EQ(run.sighting.layers[n].heads.empty(), n != 1 && n != 6) << n;
  }
}

TEST(EncoderDecoder, EveryHeadCanBeSilenced) {
  for (const Kind kind : kKinds) {
    const TinyPair made(kind);
    const Model model = made.load();
    Tokens t = input(kind);
    t.decoder_ids = ids({2, 7, 11});
    const headscope::Run plain = model.run(t);
    for (int layer = 0; layer < model.layers(); ++layer) {
      RunOptions options;
      options.trace_layers = {layer};
      Edit edit;
      edit.layer = layer;
      edit.head = model.heads(layer) - 1;
      options.edits = {edit};
      const headscope::Run run = model.run(t, options);
      const AttentionTrace& trace = run.traces.at(0);
      const auto merged = trace.merged.view<float, 3>();
      const std::int64_t width = merged.shape[2] / model.heads(layer);
      for (std::int64_t i = 0; i < merged.shape[1]; ++i) {
        for (std::int64_t c = 0; c < width; ++c)
          EXPECT_EQ(merged(0, i, edit.head * width + c), 0.0F);
        EXPECT_NE(merged(0, i, 0), 0.0F);
      }
      EXPECT_LE(contributions(model, layer, trace).error, 1e-5) << layer;
      EXPECT_GT(worst(run.logits.span<float>(), plain.logits.span<float>()), 1e-5) << layer;
      // What was read is not changed by what the decoder's heads say.
      const bool same = worst(run.encoder_last_hidden_state.span<float>(),
                              plain.encoder_last_hidden_state.span<float>()) == 0.0;
      EXPECT_EQ(same, layer >= 2) << layer;
    }
  }
}

TEST(EncoderDecoder, TracesComeInTheOrderAskedFor) {
  const TinyPair made(Kind::kBart);
  const Model model = made.load();
  Tokens t = input(Kind::kBart);
  t.decoder_ids = ids({2, 7, 11});
  RunOptions options;
  options.trace_layers = {6, 0, 3};
  const headscope::Run run = model.run(t, options);
  ASSERT_EQ(run.traces.size(), 3U);
  EXPECT_EQ(run.traces[0].q.shape(), (Shape{1, 4, 3, 4}));
  EXPECT_EQ(run.traces[0].k.shape(), (Shape{1, 4, 7, 4}));
  EXPECT_EQ(run.traces[1].k.shape(), (Shape{1, 2, 7, 8}));
  EXPECT_EQ(run.traces[2].k.shape(), (Shape{1, 4, 3, 4}));
}

TEST(EncoderDecoder, ADecodedTokenIsSeenAsInTheWholeRun) {
  for (const Kind kind : kKinds) {
    const TinyPair made(kind);
    const Model model = made.load();
    const Sight sight = Sight::everything();
    RunOptions options;
    options.sight = &sight;
    Tokens all = input(kind);
    all.decoder_ids = ids({2, 7, 11});
    const headscope::Run whole = model.run(all, options);
    KvCache cache = model.cache();
    options.caches = {&cache};
    Tokens first = input(kind);
    first.decoder_ids = ids({2, 7});
    (void)model.run(first, options);
    Tokens next;
    next.decoder_ids = ids({11});
    const headscope::Run step = model.run(next, options);
    for (const std::size_t layer : {std::size_t{3}, std::size_t{6}}) {
      const FocusRecord& a = whole.sighting.layers[layer];
      const FocusRecord& b = step.sighting.layers[layer];
      ASSERT_EQ(b.rows, 1);
      ASSERT_EQ(b.keys, a.keys);
      std::vector<float> expected(static_cast<std::size_t>(a.keys)), found(expected.size());
      for (int h = 0; h < 4; ++h) {
        a.row(0, h, 2, expected);
        b.row(0, h, 0, found);
        EXPECT_LE(worst(expected, found), 1e-5) << layer << "." << h;
      }
    }
    EXPECT_TRUE(step.sighting.layers[0].heads.empty());
  }
}

TEST(EncoderDecoder, ASightFileKeepsBothSides) {
  const TinyPair made(Kind::kBart);
  const Model model = made.load();
  Tokens t = input(Kind::kBart);
  t.decoder_ids = ids({2, 7, 11});
  const Sight sight = Sight::everything();
  RunOptions options;
  options.sight = &sight;
  headscope::Run run = model.run(t, options);
  run.sighting.labels.resize(7);
  run.sighting.answer = {
      {"</s>", 0, 0, -1, true}, {"ja", 0, 0, -1, false}, {"nein", 0, 0, -1, false}};
  run.sighting.save(made.folder() / "two.sight");
  const Sighting back = Sighting::load(made.folder() / "two.sight");
  EXPECT_EQ(back.encoder_layers, 2);
  EXPECT_EQ(back.decoder_layers, 3);
  ASSERT_EQ(back.answer.size(), 3U);
  EXPECT_EQ(back.answer[1].text, "ja");
  EXPECT_EQ(&back.row_labels(1), &back.labels);
  EXPECT_EQ(&back.key_labels(1), &back.labels);
  EXPECT_EQ(&back.row_labels(3), &back.answer);
  EXPECT_EQ(&back.key_labels(3), &back.answer);
  EXPECT_EQ(&back.row_labels(6), &back.answer);
  EXPECT_EQ(&back.key_labels(6), &back.labels);
  EXPECT_EQ(worst(back.map(6, 3).span<float>(), run.sighting.map(6, 3).span<float>()), 0.0);
  run.sighting.answer.pop_back();
  EXPECT_THROW(run.sighting.save(made.folder() / "three.sight"), Error);
}

template <typename F>
void expect_error(ErrorCode code, F&& body) {
  try {
    body();
    ADD_FAILURE() << "no error, expected " << name(code);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
  }
}

TEST(EncoderDecoder, RefusesWhatMakesNoSense) {
  const TinyPair bart(Kind::kBart);
  const TinyPair whisper(Kind::kWhisper);
  const Model reads = bart.load();
  const Model hears = whisper.load();
  const auto run = [](const Model& model, const Tokens& t, RunOptions options = {}) {
    (void)model.run(t, options);
  };
  expect_error(ErrorCode::kInput, [&] { run(reads, {}); });
  expect_error(ErrorCode::kUsage, [&] { run(hears, input(Kind::kBart)); });
  expect_error(ErrorCode::kUsage, [&] { run(reads, input(Kind::kWhisper)); });
  Tokens t;
  t.features = Tensor::zeros(DType::kF32, {1, 4, 10});
  expect_error(ErrorCode::kShape, [&] { run(hears, t); });
  t.features = features(1, 17, 1);
  expect_error(ErrorCode::kInput, [&] { run(hears, t); });
  t = input(Kind::kBart);
  t.decoder_ids = ids({2, 3}, 2);
  expect_error(ErrorCode::kShape, [&] { run(reads, t); });
  t.decoder_ids = ids({30});
  expect_error(ErrorCode::kRange, [&] { run(reads, t); });
  t = Tokens();
  t.decoder_ids = ids({2});
  expect_error(ErrorCode::kInput, [&] { run(reads, t); });
  KvCache cache = reads.cache();
  RunOptions options;
  options.caches = {&cache};
  expect_error(ErrorCode::kInput, [&] { run(reads, t, options); });
  (void)reads.run(input(Kind::kBart), options);
  expect_error(ErrorCode::kUsage, [&] { run(reads, input(Kind::kBart), options); });
  options.caches.clear();
  options.edits.emplace_back().layer = 8;
  expect_error(ErrorCode::kRange, [&] { run(reads, input(Kind::kBart), options); });
  options.edits[0].layer = 0;
  options.edits[0].head = 2;  // the decoder has four heads, the encoder two
  expect_error(ErrorCode::kRange, [&] { run(reads, input(Kind::kBart), options); });
}

TEST(EncoderDecoder, AStartTokenThatIsNoTokenIsRefused) {
  const TinyPair made(Kind::kBart, {{"decoder_start_token_id", 30}});
  expect_error(ErrorCode::kFormat, [&] { (void)made.load(); });
}

}  // namespace
}  // namespace headscope
