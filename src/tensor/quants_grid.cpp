#include <array>
#include <cstdint>
#include <string_view>

#include "tensor/quants.h"
#include "tensor/quants_bits.h"

namespace headscope::quants {

namespace {

using Bytes = const std::byte*;

/// Eight or four numbers at once, chosen from a list of points whose coordinates have few values.
template <int kAxes, int kPoints>
using Grid = std::array<std::array<std::int8_t, kAxes>, kPoints>;

/// A grid from the set of its points. A point is a number whose digits are its coordinates' places
/// among `levels`, the first coordinate last; bit c % 6 of letter c / 6, counted from '0', says
/// whether point c belongs to the grid; points are numbered in their order.
template <int kAxes, int kPoints, std::size_t kLevels>
Grid<kAxes, kPoints> unpack(std::string_view set, const std::array<std::int8_t, kLevels>& levels) {
  Grid<kAxes, kPoints> grid{};
  std::size_t n = 0;
  for (std::size_t c = 0; c < 6 * set.size(); ++c) {
    if ((static_cast<unsigned>(set[c / 6] - '0') >> (c % 6) & 1) == 0) continue;
    std::size_t rest = c;
    for (std::int8_t& axis : grid[n]) {
      axis = levels[rest % kLevels];
      rest /= kLevels;
    }
    ++n;
  }
  return grid;
}

constexpr std::string_view kIq2XxsGrid =
    R"(EE15E11A15404@1A001000010105004000004000@11@15101@110151010400@1@000@100100001001A110A1500)"
    R"(0100010001000000004010000000000@11@0100101A00110100140100000001@00000000110A0@000100000010)"
    R"(0004000001040000000000@11001000@0000A000000000001000000@00000005400010@050000000@010000000)"
    R"(5000000000000@11001040000001000@0001000000000000000100010100000001000000000000000000001000)"
    R"(0000@11A11141@11001001000@0A000@010001401000011010000010@0004010000000001000000000000@1100)"
    R"(A000000001000000A0400000000@000001001A@1000001100010004000000010000000000@0000000000000500)"
    R"(0400000000000@00000010000001@@000001000000000100000000010000000000001100100010000100000@00)"
    R"(000000010000100000A00000000000000500000001000000000000000000000400000000000000000000000000)"
    R"(0000000005400@00004000010101000000000@00000000000@1A0010010000010000400000100@000100100000)"
    R"(4000000000000010000000000000@00000000000011011000000@0004000000100000000@00000000100401000)"
    R"(0000000000@00000000000000000000000000000@0000000100000000000000000000000400000100@0000@000)"
    R"(000000000100000000000000010000000000000000000000000000000000000000000100000001)";
constexpr std::string_view kIq2XsGrid =
    R"(EEEEAEEA1EAA1@EEE1EA11A1100EA11@1A001400@EEA1EA51@1100EA11@11@01000@1104500001000EE1A@1110)"
    R"(1001D11001000@@0001001100000041@EEA1EA11D1100EA11@11001050@5100100100000EA11@A1011000@1100)"
    R"(10000000010100@0000000@1500101004000A000000040000000000@000000@EE11@11001001@1100110@00000)"
    R"(1004000001000A110@1000000001000@040000@0@0040000000004150100@00010400000000010100010100000)"
    R"(4500@EEA1EE1A@1100EA11@1100A004@150@100000000EAA1@11001010@11011000000401400011000000@1100)"
    R"(A014000001@000110@000001000000000000EA11A11001000@1A005000000001000010000000D11@01001@00@0)"
    R"(1100000001100000@00000100@01010@010000@000040500000000000000000@000@110010140400@100000000)"
    R"(000000001040000400104000000000000100A000000010000000000000@0000000040000000@00000000004000)"
    R"(001400000EA11D11005000E51001@@0000001001000005001A1E0010010@000100001000000@00010000040000)"
    R"(110@000405000140000000000000004000001140A110010400100010040000100000000000400@000A00001110)"
    R"(00000000@0000005000000@00000000000000@000000400000@000000000@00000100000550140000000100000)"
    R"(0@@000004510040000100100000100000@00000000000000000000000@00010040510000000111000000005000)"
    R"(0000500000@004)";
constexpr std::string_view kIq2SGrid =
    R"(EEEEAEEAEEA1ADEEA1EAEAA1E@1EA11DEA00A414@EEAEEEEE@EAA1EEEAAEEA1EA11@EA00AA11@1100EAEADEEA1)"
    R"(A010D1EA0AA11@01001@145010000@0@EEA5EAEEA5AA1EEEEAEEA1EA10@AA@1A@10@1100EAEAAEEA1EA11@EEA1)"
    R"(EA11@1100AA11@11001000DEAA0EA11@1000EA11@110@000401100104000000EAEAD1E011410D1E@0E@11@1100)"
    R"(1404511000500AEAA1EA11@1100AA11@11041000@110010@000000A@10@11000400D1100000000@00040400001)"
    R"(0500@EEE5EEEE@1AA1EAEE@EEA1EA11@1E11AA11@1000EEEEAEEA1EA11@EEA1EA11D1100EA11@1100100@@AEA1)"
    R"(EA1101100EA11@11001040@1100100000000EAEEAEEA1EA10@EEA1EA11@1100AA11@110@1000@EEA1EA11@1100)"
    R"(EA11@11001000@1104100000000EA11@11401000@110010000000010@000000@000A5EA1AA1101100EA11@1100)"
    R"(10@0011001040000@0AA11@11001000@11001400104001000000000010@1100000@00010100040000000000000)"
    R"(4000000@0EAAA@1EA0A@10@AEA1EA10@110@AD10@11000000@EEA0EA11@1100EA11@11001400@110@100000000)"
    R"(A@10@11000004@1000100@000000004000504004@AE11EA11@1100A@10@11400000@1100100000004EA11@1100)"
    R"(1040@11001000000A01000040010000@110410000000@10000@400000000000000000100A414D1100000440000)"
    R"(100@000004404500004500A110010000@00110@0000000000000000@0000000040010000000400000001004000)"
    R"(05051000001004)";
constexpr std::string_view kIq1Grid =
    R"(EE2552Z02552553Z62RRRZ12Z0255255222A5EB550Z0222RH00222j0Z0:RkZZ2@Zj20820:X:S22:20552552R02)"
    R"(552552:232H2:20Z225525522B2E52550;23:8:J20Z@2ZZ::2Ro:28P2:00Z02QRZX02Z02R2KR@^jR:8:kJRRjZZ)"
    R"(j`gjZ[k^2j0^RX[bCkPT2820R02Z:Z[22:020XRBP;j>R0b:R2@P05XZ:R22R40552E522B2552E52:22<2Zj02Q22)"
    R"(2E2552R222E2552X22hRZP02:B20222::JR:0:[Z22522222325140552552:0255055@:22PR2Z22Q23550552R22)"
    R"(552552R020RZZ008B4[R^R2Zj6ZZX2702Z022PR82@80220B02Zj`ZRZ23bRj:RjJOjR;j6ZB2[:Z:gR:B43Z02B42)"
    R"(4::Z22Z22b<;Z8RnZVPR>Z20P00X2Z820802jRR:::j2:P2:S2jj;^jjojR2j:RRPR:PRjR2@Xb803jCZjNon:XjBS)"
    R"(njgjjOoOoJNOjjMJkObooJRnBTNh::24Zj[34Z:2bRj22jjojBBj3281Ra2JbSZ2T^202X2288^ZB0P02ZR2V2Bb2V)"
    R"(8T2R20R20S0>102R020`VRZZj^2HZ_:2Zb20hJGj2dbV>422Q;Zj=:E4MY40P222PR222214:82ZJ>j:R<42J20R10)"
    R"(::ZH24854550552[22552552Z22:ZNX2BX22552550:22552550820:@R:208202RRPJ:j6^ZZ:P00R22:>bR42241)"
    R"(5525E2:2B552556Z02ZZR:02P22552552Z00552552R32R2Z062Z22Z:ZZ:2kR2XP:Z22:22XZ:P22X0@Z8:P8Pjk2)"
    R"(XP;2:ZkBbjjojB:n^Z:8BQ2Jf2:<V3X22P22RXVH02R22XZZ[XZjRV:XRR02@02X::202j00552552Z2055255BZ60)"
    R"(PBZ:02U204=@452R22552550022:8[b32000PZ:PR2j2RjR:002RD2XT>504aB5550550Z205525528B228RR20Q00)"
    R"(550550Z0055255)";
constexpr std::string_view kIq3XxsGrid =
    R"(EXH12@000PR258B120101DQ05X8022082F0800000400800P@080X8800@0040000000P000@000A10080P00X@1:D)"
    R"(1P100058@1000000P258@000004D00180@0040R00000@00000041001002020000000000001040000@1:DT04000)"
    R"(0XB124000PH058H1060800P0A0000000A00000208000800P08000010000000000X0@000800002DP200@0P@@104)"
    R"(P0@1000X@0P000400108008000000000@0020044404000P000001001008000000200@0001P00:0820000000000)"
    R"(0010040P10@@008000080000@00000P0@00000208000100000000000PD00100000004000200014400100P00000)"
    R"(1040000@0100000P0000@082000001400020000000000004000000@001000000040050@000080000P0000P0000)"
    R"(00100000110000000000@000002000004000000080000002080000000PJ00@004000000@040000004000P@0004)"
    R"(080P00040000P0080000@100100000000004)";
constexpr std::string_view kIq3SGrid =
    R"(WNe88DZ258i5STX8@0P84<JBR41Y:0@288B1:1A10:B08:1198001@105QPX00420Y00200108@50D4204100LaZ58)"
    R"(50@901;5Q098@104D0T61190B048I226Q00@@0X@10:@D400P098@108000000A20D0000:DP0P80044`ZEYH1ZD0P)"
    R"(YD@RT8112000B2P21:0R08A92@Q2440@08809@R00009@801060204@Q080000R000R0050210004X:1Z@Y088P:@X)"
    R"(0010@045011@10100024QR1X880P022AP00@@408@1P@0401020040080000P20D0800000411ABP010@04Z01QPP8)"
    R"(00P2Q802108110Q25820000050040600080X0800000100020010040004201PP00001A@00AB0@@X212@00000118)"
    R"(021102000Q1080@80888101@0@00000@0@00P20000000040000@10400000000X20:00010@00480000400010011)"
    R"(P@@010Q004000000002080010T0000100400P00004000000:0000000049050D0@@0048040P2000P419@008000@)"
    R"(000@208000RP@000@000000@0040000@00080000001)";

constexpr std::array<std::int8_t, 3> kTernary = {-1, 0, 1};
constexpr std::array<std::int8_t, 3> kThree = {8, 25, 43};
constexpr std::array<std::int8_t, 8> kEight = {4, 12, 20, 28, 36, 44, 52, 62};
constexpr std::array<std::int8_t, 8> kOdd = {1, 3, 5, 7, 9, 11, 13, 15};

/// Seven signs are stored; the eighth makes the number of minuses even.
unsigned eight_signs(unsigned seven) {
  return seven | (static_cast<unsigned>(__builtin_popcount(seven)) & 1) << 7;
}

template <std::size_t kAxes>
void put(float scale, const std::array<std::int8_t, kAxes>& point, unsigned signs, float* y) {
  for (std::size_t i = 0; i < kAxes; ++i) {
    const float value = scale * static_cast<float>(point[i]);
    y[i] = (signs >> i & 1) != 0 ? -value : value;
  }
}

void iq2_xxs(Bytes b, float* y) {
  static const auto grid = unpack<8, 256>(kIq2XxsGrid, kThree);
  const float d = f16_at(b, 0);
  for (unsigned k = 0; k < 8; ++k) {
    const std::size_t at = 2 + 8 * k;
    const std::uint32_t rest = u32_at(b, at + 4);  // four times seven signs, then the factor
    const float scale = d * (0.5F + static_cast<float>(rest >> 28)) * 0.25F;
    for (unsigned j = 0; j < 4; ++j) {
      put(scale, grid[byte_at(b, at + j)], eight_signs(rest >> (7 * j) & 127), y);
      y += 8;
    }
  }
}

/// The factor of sixteen numbers in IQ2_XS and IQ2_S.
float fine_scale(float d, unsigned four) { return d * (0.5F + static_cast<float>(four)) * 0.25F; }

void iq2_xs(Bytes b, float* y) {
  static const auto grid = unpack<8, 512>(kIq2XsGrid, kThree);
  const float d = f16_at(b, 0);
  for (unsigned j = 0; j < 32; ++j) {
    const unsigned q = u16_at(b, 2 + 2 * j);
    put(fine_scale(d, nibble(b, 66 + j / 4, j / 2 % 2)), grid[q & 511], eight_signs(q >> 9), y);
    y += 8;
  }
}

void iq2_s(Bytes b, float* y) {
  static const auto grid = unpack<8, 1024>(kIq2SGrid, kThree);
  const float d = f16_at(b, 0);
  for (unsigned j = 0; j < 32; ++j) {
    const unsigned point = byte_at(b, 2 + j) | (byte_at(b, 66 + j / 4) >> (2 * (j % 4)) & 3) << 8;
    put(fine_scale(d, nibble(b, 74 + j / 4, j / 2 % 2)), grid[point], byte_at(b, 34 + j), y);
    y += 8;
  }
}

void iq3_xxs(Bytes b, float* y) {
  static const auto grid = unpack<4, 256>(kIq3XxsGrid, kEight);
  const float d = f16_at(b, 0);
  for (unsigned k = 0; k < 8; ++k) {
    const std::uint32_t rest = u32_at(b, 66 + 4 * k);
    const float scale = d * (0.5F + static_cast<float>(rest >> 28)) * 0.5F;
    for (unsigned j = 0; j < 8; ++j) {
      const unsigned signs = eight_signs(rest >> (7 * (j / 2)) & 127) >> (4 * (j % 2));
      put(scale, grid[byte_at(b, 2 + 8 * k + j)], signs, y);
      y += 4;
    }
  }
}

void iq3_s(Bytes b, float* y) {
  static const auto grid = unpack<4, 512>(kIq3SGrid, kOdd);
  const float d = f16_at(b, 0);
  for (unsigned j = 0; j < 64; ++j) {
    const unsigned point = byte_at(b, 2 + j) | (byte_at(b, 66 + j / 8) >> (j % 8) & 1) << 8;
    const float scale = d * static_cast<float>(1 + 2 * nibble(b, 106 + j / 16, j / 8 % 2));
    put(scale, grid[point], nibble(b, 74 + j / 2, j % 2), y);
    y += 4;
  }
}

const Grid<8, 2048>& ternary_grid() {
  static const auto grid = unpack<8, 2048>(kIq1Grid, kTernary);
  return grid;
}

void put_shifted(float scale, const std::array<std::int8_t, 8>& point, bool below, float* y) {
  const float shift = below ? -0.125F : 0.125F;
  for (std::size_t i = 0; i < 8; ++i) y[i] = scale * (static_cast<float>(point[i]) + shift);
}

void iq1_s(Bytes b, float* y) {
  const float d = f16_at(b, 0);
  for (unsigned j = 0; j < 32; ++j) {
    const unsigned high = u16_at(b, 34 + 2 * (j / 4));
    const unsigned point = byte_at(b, 2 + j) | (high >> (3 * (j % 4)) & 7) << 8;
    const float scale = d * static_cast<float>(2 * (high >> 12 & 7) + 1);
    put_shifted(scale, ternary_grid()[point], (high & 0x8000) != 0, y);
    y += 8;
  }
}

void iq1_m(Bytes b, float* y) {
  // The f16 factor of the block is spread over the top bits of four words of small factors.
  unsigned bits = 0;
  for (unsigned k = 0; k < 4; ++k) bits |= u16_at(b, 48 + 2 * k) >> 12 << (4 * k);
  const float d = to_f32(f16{static_cast<std::uint16_t>(bits)});
  for (unsigned j = 0; j < 32; ++j) {
    const unsigned high = nibble(b, 32 + j / 2, j % 2);
    const unsigned point = byte_at(b, j) | (high & 7) << 8;
    const unsigned k = j / 2;  // a factor for sixteen numbers, four factors a word
    const unsigned three = u16_at(b, 48 + 2 * (k / 4)) >> (3 * (k % 4)) & 7;
    put_shifted(d * static_cast<float>(2 * three + 1), ternary_grid()[point], high > 7, y);
    y += 8;
  }
}

}  // namespace

ReadBlock grid_reader(DType dtype) {
  switch (dtype) {
    case DType::kIQ1_S:
      return iq1_s;
    case DType::kIQ1_M:
      return iq1_m;
    case DType::kIQ2_XXS:
      return iq2_xxs;
    case DType::kIQ2_XS:
      return iq2_xs;
    case DType::kIQ2_S:
      return iq2_s;
    case DType::kIQ3_XXS:
      return iq3_xxs;
    case DType::kIQ3_S:
      return iq3_s;
    default:
      return nullptr;
  }
}

}  // namespace headscope::quants
