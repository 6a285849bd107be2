// The law of caches, on every decoder of golden/families: a prompt in uneven blocks and then token by token
// gives what one run over all tokens gives.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "golden/golden.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"

namespace headscope {
namespace {

namespace fs = std::filesystem;

struct Subject {
  Model model;
  Tensor ids;  // [B,T]
  double tolerance;

  explicit Subject(const fs::path& folder) : model(Model::load(folder.string())) {
    const Safetensors io = Safetensors::open(folder / "io.safetensors");
    const auto from = io.at("input_ids").view<std::int64_t, 2>();
    ids = Tensor(DType::kI32, {from.shape[0], from.shape[1]});
    for (std::size_t n = 0; n < ids.span<std::int32_t>().size(); ++n)
      ids.span<std::int32_t>()[n] = static_cast<std::int32_t>(from.data[n]);
    tolerance = std::max(1e-5, 20.0 * std::stod(io.metadata().at("f32_noise")));
  }
  [[nodiscard]] std::int64_t length() const { return ids.dim(1); }
  // Tokens [begin, end) of sequence b.
  [[nodiscard]] Tokens part(std::int64_t b, std::int64_t begin, std::int64_t end) const {
    Tokens t{Tensor(DType::kI32, {1, end - begin}), {}, {}, {}};
    for (std::int64_t i = begin; i < end; ++i)
      t.ids.view<std::int32_t, 2>()(0, i - begin) = ids.view<std::int32_t, 2>()(b, i);
    return t;
  }
};

const Tensor& result_of(const headscope::Run& run) {
  return run.logits.empty() ? run.last_hidden_state : run.logits;
}

// Largest difference of rows [first, ...) of `whole` and all rows of `part`.
double off(const Tensor& whole, const Tensor& part, std::int64_t first) {
  const auto a = whole.view<float, 3>();
  const auto b = part.view<float, 3>();
  double worst = 0.0;
  for (std::int64_t i = 0; i < b.shape[1]; ++i) {
    for (std::int64_t c = 0; c < b.shape[2]; ++c)
      worst = std::max(worst, std::abs(double{a(0, first + i, c)} - double{b(0, i, c)}));
  }
  return worst;
}

// Feeds [begin, length) in blocks of these sizes, the last one again and again.
double feed(const Subject& s,
            const Tensor& whole,
            KvCache& cache,
            std::int64_t begin,
            std::vector<std::int64_t> blocks,
            const std::vector<Edit>& edits = {}) {
  double worst = 0.0;
  for (std::size_t n = 0; begin < s.length(); ++n) {
    const std::int64_t size = blocks[std::min(n, blocks.size() - 1)];
    const std::int64_t end = std::min(s.length(), begin + size);
    RunOptions options;
    options.caches = {&cache};
    options.final_length = s.length();
    options.edits = edits;
    const headscope::Run run = s.model.run(s.part(0, begin, end), options);
    worst = std::max(worst, off(whole, result_of(run), begin));
    begin = end;
  }
  EXPECT_EQ(cache.length(), s.length());
  return worst;
}

template <typename F>
void each_decoder(F&& body) {
  const std::vector<std::string> known = families();
  int ran = 0;
  for (const fs::path& folder : golden::folders("families")) {
    SCOPED_TRACE(folder.filename().string());
    const auto config = nlohmann::json::parse(read_file(folder / "config.json"));
    if (std::find(known.begin(), known.end(), config.value("model_type", "")) == known.end())
      continue;
    const Safetensors io = Safetensors::open(folder / "io.safetensors");
    // Pictures have no cache; encoder_decoder_test.cpp has those with two stacks.
    if (io.find("input_ids") == nullptr || io.find("decoder_input_ids") != nullptr ||
        io.find("pixel_values") != nullptr)
      continue;
    const Subject s(folder);
    try {
      (void)s.model.cache();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kUnsupported);  // an encoder
      continue;
    }
    body(s);
    ++ran;
  }
  EXPECT_GT(ran, 0);
}

TEST(GoldenCache, BlocksAndSingleTokensGiveTheWholeRun) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  each_decoder([](const Subject& s) {
    const headscope::Run whole = s.model.run(s.part(0, 0, s.length()));
    for (const std::vector<std::int64_t>& blocks :
         {std::vector<std::int64_t>{1}, {5, 1, 3, 1}, {7, 4, 1}}) {
      KvCache cache = s.model.cache(DType::kF32, 64);
      EXPECT_LE(feed(s, result_of(whole), cache, 0, blocks), s.tolerance);
    }
  });
}

TEST(GoldenCache, EditsActOnEveryBlock) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  each_decoder([](const Subject& s) {
    RunOptions options;
    options.edits.emplace_back().head = 1;
    options.edits.emplace_back(
        Edit{.layer = 1, .head = 0, .kind = Edit::Kind::kScale, .factor = 0.5F});
    const headscope::Run whole = s.model.run(s.part(0, 0, s.length()), options);
    KvCache cache = s.model.cache(DType::kF32, 64);
    EXPECT_LE(feed(s, result_of(whole), cache, 0, {6, 1}, options.edits), s.tolerance);
  });
}

TEST(GoldenCache, GoingBackForgets) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  each_decoder([](const Subject& s) {
    const headscope::Run whole = s.model.run(s.part(0, 0, s.length()));
    KvCache cache = s.model.cache(DType::kF32, 64);
    RunOptions options;
    options.caches = {&cache};
    options.final_length = s.length();
    (void)s.model.run(s.part(0, 0, 6), options);
    (void)s.model.run(s.part(0, 0, 2), options);  // of another text
    cache.truncate(6);
    EXPECT_LE(feed(s, result_of(whole), cache, 6, {1}), s.tolerance);
    cache.truncate(0);
    EXPECT_LE(feed(s, result_of(whole), cache, 0, {8}), s.tolerance);
  });
}

// Two sequences of different lengths decode together: each is as if it were alone.
TEST(GoldenCache, SequencesOfABatchDoNotMeet) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  each_decoder([](const Subject& s) {
    ASSERT_GE(s.ids.dim(0), 2);
    KvCache first = s.model.cache(DType::kF32, 64);
    KvCache second = s.model.cache(DType::kF32, 64);
    RunOptions options;
    options.final_length = s.length();
    // 7 tokens of one, 4 of the other and 3 of padding.
    Tokens prompt{Tensor(DType::kI32, {2, 7}), Tensor(DType::kU8, {2, 7}), {}, {}};
    for (std::int64_t i = 0; i < 7; ++i) {
      for (std::int64_t b = 0; b < 2; ++b) {
        prompt.ids.view<std::int32_t, 2>()(b, i) = s.ids.view<std::int32_t, 2>()(b, i);
        prompt.attention_mask.view<std::uint8_t, 2>()(b, i) = b == 0 || i < 4 ? 1 : 0;
      }
    }
    options.caches = {&first, &second};
    options.logits_rows = 1;
    (void)s.model.run(prompt, options);
    Tokens next{Tensor(DType::kI32, {2, 1}), {}, {}, {}};
    next.ids.view<std::int32_t, 2>()(0, 0) = s.ids.view<std::int32_t, 2>()(0, 7);
    next.ids.view<std::int32_t, 2>()(1, 0) = s.ids.view<std::int32_t, 2>()(1, 4);
    const headscope::Run both = s.model.run(next, options);
    const std::int64_t lengths[] = {8, 5};
    for (std::int64_t b = 0; b < 2; ++b) {
      RunOptions alone;
      alone.final_length = s.length();
      const headscope::Run whole = s.model.run(s.part(b, 0, lengths[b]), alone);
      const auto a = result_of(whole).view<float, 3>();
      const auto f = result_of(both).view<float, 3>();
      for (std::int64_t c = 0; c < a.shape[2]; ++c)
        ASSERT_NEAR(a(0, lengths[b] - 1, c), f(b, 0, c), s.tolerance);
    }
  });
}

// bf16 keys and values are off by 2^-8 of themselves.
TEST(GoldenCache, HalfTheMemoryIsCloseToTheWhole) {
  HEADSCOPE_REQUIRE_GOLDEN("families");
  each_decoder([](const Subject& s) {
    const headscope::Run whole = s.model.run(s.part(0, 0, s.length()));
    KvCache cache = s.model.cache(DType::kBF16, 64);
    double norm = 0.0;
    for (const float x : result_of(whole).span<float>()) norm += double{x} * double{x};
    norm = std::sqrt(norm / static_cast<double>(s.length()));
    EXPECT_LE(feed(s, result_of(whole), cache, 0, {5, 1}), 0.05 * norm);
  });
}

}  // namespace
}  // namespace headscope
