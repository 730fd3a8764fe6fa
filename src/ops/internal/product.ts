import { planMatmul, type MatmulProblem } from '../../kernels/matmul.ts';
import type { FloatDType } from '../../tensor/dtype.ts';
import { broadcastShapes, broadcastStrides, type Shape } from '../../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../../tensor/tensor.ts';

/** The product of checked operands, which may differ in dtype; `outAxes` orders its memory. Call it inside a scope. */
export function product(
  op: string,
  a: Tensor,
  b: Tensor,
  options: { bias?: Tensor; outDType?: FloatDType; outAxes?: readonly number[]; zeroAnnihilates?: boolean } = {},
): FloatTensor {
  const { device } = a;
  const batchShape = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2))!;
  const [rows, depth] = a.shape.slice(-2) as [number, number];
  const columns = b.shape.at(-1)!;
  const outDType = options.outDType ?? (a.dtype as FloatDType);
  const output = device.empty([...batchShape, rows, columns], outDType, op, options.outAxes);
  const operand = (tensor: Tensor, matrix: Shape) => ({
    strides: broadcastStrides(tensor.shape, tensor.strides, [...batchShape, ...matrix])!,
    offset: tensor.offset,
  });
  const problem: MatmulProblem = {
    op,
    batchShape,
    rows,
    columns,
    depth,
    aDType: a.dtype as FloatDType,
    bDType: b.dtype as FloatDType,
    outDType,
    a: operand(a, [rows, depth]),
    b: operand(b, [depth, columns]),
    output: operand(output, [rows, columns]),
    biasOffset: options.bias?.offset,
    zeroAnnihilates: options.zeroAnnihilates,
  };
  const launch = planMatmul(problem, device.traits, device.kernels);
  device.dispatch(op, launch, { a, b, bias: options.bias, output });
  return output;
}
