// Pictures against what Pillow makes of them and against plain sums in double.
#include "headscope/image.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "media/taps.h"

namespace headscope {
namespace {

using media::Taps;

// The picture of make_pillow_bytes.py.
Tensor picture(std::int64_t height = 13, std::int64_t width = 17) {
  Tensor out(DType::kU8, {height, width, 3});
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      for (std::int64_t c = 0; c < 3; ++c) {
        out.view<std::uint8_t, 3>()(y, x, c) =
            static_cast<std::uint8_t>((y * 37 + x * 59 + c * 83 + x * y % 23 * 11) % 256);
      }
    }
  }
  return out;
}

View<const std::uint8_t, 3> seen(const Tensor& t) { return t.view<std::uint8_t, 3>(); }

struct Resized {
  ImageRules::Filter filter;
  std::int64_t height, width;
  std::vector<std::uint8_t> bytes;
};

TEST(Image, ResizeIsPillowsToTheBit) {
  const std::vector<Resized> cases = {
#include "pillow_bytes.inc"
  };
  const Tensor from = picture();
  for (const Resized& one : cases) {
    const Tensor to = resize(seen(from), one.height, one.width, one.filter);
    ASSERT_EQ(to.shape(), (Shape{one.height, one.width, 3}));
    const auto found = to.span<std::uint8_t>();
    EXPECT_EQ(std::vector<std::uint8_t>(found.begin(), found.end()), one.bytes)
        << static_cast<int>(one.filter) << " " << one.height << " x " << one.width;
  }
}

TEST(Image, ResizeToItsOwnSizeChangesNothing) {
  const Tensor from = picture();
  const Tensor to = resize(seen(from), 13, 17, ImageRules::Filter::kBicubic);
  for (std::size_t n = 0; n < from.span<std::uint8_t>().size(); ++n)
    EXPECT_EQ(to.span<std::uint8_t>()[n], from.span<std::uint8_t>()[n]);
}

TEST(Image, WeightsSumToOneAndALineStaysALine) {
  using media::Filter;
  for (const Filter filter : {Filter::kLinear, Filter::kCubic, Filter::kTriangle, Filter::kSmoothCubic}) {
    for (const auto& [from, to] : {std::pair{6, 4}, {4, 9}, {37, 16}, {1, 3}, {5, 1}}) {
      const Taps taps = media::taps(filter, from, to);
      for (std::int64_t n = 0; n < to; ++n) {
        const auto at = static_cast<std::size_t>(n);
        double sum = 0.0;
        double mean = 0.0;
        for (std::int64_t i = 0; i < taps.count[at]; ++i) {
          ASSERT_GE(taps.first[at] + i, 0);
          ASSERT_LT(taps.first[at] + i, from);
          sum += taps.weight(n)[i];
          mean += taps.weight(n)[i] * static_cast<double>(taps.first[at] + i);
        }
        EXPECT_NEAR(sum, 1.0, 1e-12);
        // Away from the edges the weights stand around where the number lies.
        const double x = (static_cast<double>(n) + 0.5) * from / to - 0.5;
        const double reach = 2.0 * std::max(1.0, static_cast<double>(from) / to) + 1.0;
        const bool exact = filter == Filter::kLinear || filter == Filter::kCubic;
        if (x >= reach && x <= static_cast<double>(from) - 1.0 - reach) {
          EXPECT_NEAR(mean, x, exact && filter == Filter::kLinear ? 1e-9 : 0.26);
        }
      }
    }
  }
}

TEST(Image, NearestOfPyTorchIsTheFloor) {
  const Taps up = media::taps(media::Filter::kNearest, 2, 5);  // 0, 0.4, 0.8, 1.2, 1.6
  EXPECT_EQ(up.first, (std::vector<std::int64_t>{0, 0, 0, 1, 1}));
  const Taps down = media::taps(media::Filter::kNearest, 5, 2);  // 0, 2.5
  EXPECT_EQ(down.first, (std::vector<std::int64_t>{0, 2}));
}

// Filter by filter in double, pixel by pixel, no fixed point: bytes may differ by their rounding.
TEST(Image, ResizeIsThePlainSumOfItsFilter) {
  const auto cubic = [](double x) {
    x = std::abs(x);
    if (x < 1.0) return 1.5 * x * x * x - 2.5 * x * x + 1.0;
    return x < 2.0 ? -0.5 * x * x * x + 2.5 * x * x - 4.0 * x + 2.0 : 0.0;
  };
  const Tensor from = picture(31, 23);
  const std::int64_t height = 9;
  const std::int64_t width = 40;
  const Tensor to = resize(seen(from), height, width, ImageRules::Filter::kBicubic);
  const auto plain = [&](std::int64_t n, std::int64_t size, double scale, auto&& value) {
    const double wide = std::max(1.0, scale);
    double sum = 0.0;
    double weights = 0.0;
    for (std::int64_t i = 0; i < size; ++i) {
      const double far = (static_cast<double>(i) + 0.5 - (static_cast<double>(n) + 0.5) * scale) / wide;
      sum += cubic(far) * value(i);
      weights += cubic(far);
    }
    return std::clamp(sum / weights, 0.0, 255.0);
  };
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      const double want = plain(y, 31, 31.0 / 9.0, [&](std::int64_t row) {
        return plain(x, 23, 23.0 / 40.0, [&](std::int64_t column) {
          return static_cast<double>(seen(from)(row, column, 1));
        });
      });
      EXPECT_NEAR(static_cast<double>(seen(to)(y, x, 1)), want, 1.25);
    }
  }
}

TEST(Image, PixelsAreResizedCroppedAndNormalised) {
  const Tensor from = picture(30, 20);
  const ImageRules rules = ImageRules::parse(
      R"({"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 10}, "crop_size": 8,
          "resample": 2, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.25, 2.0]})",
      "preprocessor_config.json",
      {});
  const Tensor pixels = pixels_from_rgb(seen(from), rules);
  ASSERT_EQ(pixels.shape(), (Shape{3, 8, 8}));
  const Tensor small = resize(seen(from), 15, 10, ImageRules::Filter::kBilinear);
  const double mean[] = {0.1, 0.2, 0.3};
  const double deviation[] = {0.5, 0.25, 2.0};
  for (std::int64_t c = 0; c < 3; ++c) {
    for (std::int64_t y = 0; y < 8; ++y) {
      for (std::int64_t x = 0; x < 8; ++x) {
        const double want = (seen(small)(y + 3, x + 1, c) / 255.0 - mean[c]) / deviation[c];
        EXPECT_NEAR((pixels.view<float, 3>()(c, y, x)), want, 1e-6);
      }
    }
  }
}

TEST(Image, CropBeyondThePictureIsBlack) {
  ImageRules rules;
  rules.resize = false;
  rules.crop = true;
  rules.crop_height = 16;  // 3 rows too many: 2 above, 1 below
  rules.crop_width = 10;   // 7 columns left out: 3 on the left
  const Tensor from = picture();
  const Tensor pixels = pixels_from_rgb(seen(from), rules);
  ASSERT_EQ(pixels.shape(), (Shape{3, 16, 10}));
  const auto at = pixels.view<float, 3>();
  for (std::int64_t x = 0; x < 10; ++x) {
    EXPECT_EQ(at(1, 0, x), -1.0F);
    EXPECT_EQ(at(1, 1, x), -1.0F);
    EXPECT_EQ(at(1, 15, x), -1.0F);
    EXPECT_NEAR(at(1, 2, x), (seen(from)(0, x + 3, 1) / 255.0 - 0.5) / 0.5, 1e-6);
  }
}

TEST(Image, OneChannelIsLuma) {
  ImageRules rules;
  rules.resize = false;
  rules.mean.clear();
  rules.deviation.clear();
  const Tensor from = picture();
  const Tensor pixels = pixels_from_rgb(seen(from), rules, 1);
  ASSERT_EQ(pixels.shape(), (Shape{1, 13, 17}));
  for (std::int64_t x = 0; x < 17; ++x) {
    const double luma = 0.299 * seen(from)(4, x, 0) + 0.587 * seen(from)(4, x, 1) + 0.114 * seen(from)(4, x, 2);
    EXPECT_NEAR((pixels.view<float, 3>()(0, 4, x)) * 255.0, luma, 0.51);
  }
}

TEST(Image, WordsOfTheProcessor) {
  const auto read = [](std::string_view text) {
    return ImageRules::parse(text, "preprocessor_config.json", ImageRules());
  };
  const ImageRules clip = read(R"({"feature_extractor_type": "CLIPFeatureExtractor", "size": 224})");
  EXPECT_EQ(clip.shortest, 224);
  EXPECT_TRUE(clip.crop);
  EXPECT_EQ(clip.filter, ImageRules::Filter::kBicubic);
  EXPECT_NEAR(clip.mean[0], 0.48145466, 1e-9);
  const ImageRules vit = read(R"({"image_processor_type": "ViTImageProcessorFast", "size": 384})");
  EXPECT_EQ(vit.shortest, 0);
  EXPECT_EQ(vit.width, 384);
  EXPECT_FALSE(vit.crop);
  const ImageRules plain = read(
      R"({"do_resize": false, "do_rescale": false, "do_normalize": false, "do_center_crop": false})");
  EXPECT_FALSE(plain.resize);
  EXPECT_EQ(plain.rescale, 1.0);
  EXPECT_TRUE(plain.mean.empty());
}

TEST(Image, BadWordsAreNamed) {
  const auto code = [](std::string_view text) {
    try {
      ImageRules::parse(text, "preprocessor_config.json", ImageRules());
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code(R"({"image_processor_type": "LevitImageProcessor"})"), ErrorCode::kUnsupported);
  EXPECT_EQ(code(R"({"size": {"max_height": 3, "max_width": 4}})"), ErrorCode::kUnsupported);
  EXPECT_EQ(code(R"({"crop_pct": 0.9})"), ErrorCode::kUnsupported);
  EXPECT_EQ(code(R"({"resample": 9})"), ErrorCode::kFormat);
  EXPECT_EQ(code(R"({"size": -3})"), ErrorCode::kFormat);
  EXPECT_EQ(code(R"({"size": 999999999})"), ErrorCode::kFormat);
  EXPECT_EQ(code(R"({"image_mean": [1, 2]})"), ErrorCode::kFormat);
  EXPECT_EQ(code(R"({"image_std": [1, 0, 1]})"), ErrorCode::kFormat);
  EXPECT_EQ(code(R"([])"), ErrorCode::kFormat);
}

TEST(Image, AThinPictureIsRefusedBeforeItGrows) {
  ImageRules rules;
  rules.shortest = 1 << 14;
  const Tensor thin = picture(1, 400);
  EXPECT_THROW(pixels_from_rgb(seen(thin), rules), Error);
  EXPECT_THROW(resize(seen(thin), 0, 4, ImageRules::Filter::kBox), Error);
}

}  // namespace
}  // namespace headscope
